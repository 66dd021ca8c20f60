//! Points in time as RFC 3339 text: `#[serde(with = "crate::domain::timestamp")]`.
//!
//! Always with three digits of the second, as JavaScript writes them: as texts they sort as the times do.

use std::num::NonZeroU8;

use serde::{Deserialize as _, Deserializer, Serializer, de, ser};
use time::OffsetDateTime;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};
use time::format_description::well_known::{Iso8601, Rfc3339};

/// A profile of RFC 3339 with whole milliseconds, cut and not rounded.
const MILLISECONDS: EncodedConfig = Config::DEFAULT
    .set_time_precision(TimePrecision::Second {
        decimal_digits: NonZeroU8::new(3),
    })
    .encode();

/// Writes a point in time as RFC 3339 text, to the millisecond.
///
/// # Errors
/// The year is beyond 9999.
pub fn serialize<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = at
        .format(&Iso8601::<MILLISECONDS>)
        .map_err(ser::Error::custom)?;
    serializer.serialize_str(&text)
}

/// Reads a point in time from RFC 3339 text.
///
/// # Errors
/// The text is no such point.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339).map_err(de::Error::custom)
}

/// The point in time that many milliseconds after the Unix epoch; the epoch itself for what no calendar has.
pub fn from_unix_ms(unix_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The present, in whole milliseconds: what is written of it is all of it.
pub fn now() -> OffsetDateTime {
    from_unix_ms(now_unix_ms())
}

/// Milliseconds from the Unix epoch to now.
pub fn now_unix_ms() -> i64 {
    unix_ms(OffsetDateTime::now_utc())
}

/// A point in time as RFC 3339 text, to the millisecond; empty for a year beyond 9999.
pub fn text(at: OffsetDateTime) -> String {
    at.format(&Iso8601::<MILLISECONDS>).unwrap_or_default()
}

/// Milliseconds since the Unix epoch.
pub fn unix_ms(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1_000_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_sort_as_the_times_do() {
        let times =
            [0, 930, 935, 1_000, 1_001].map(|after| text(from_unix_ms(1_795_772_080_000 + after)));
        assert_eq!(times[1], "2026-11-27T09:34:40.930Z");
        assert!(times.is_sorted(), "{times:?}");
    }

    #[test]
    fn whole_milliseconds_are_read_as_they_were_written() {
        let at = from_unix_ms(1_795_772_080_001);
        assert_eq!(OffsetDateTime::parse(&text(at), &Rfc3339), Ok(at));
    }
}
