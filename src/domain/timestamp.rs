//! Points in time as RFC 3339 text: `#[serde(with = "crate::domain::timestamp")]`.

use serde::{Deserialize as _, Deserializer, Serializer, de, ser};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Writes a point in time as RFC 3339 text.
///
/// # Errors
/// The year is beyond 9999.
pub fn serialize<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = at.format(&Rfc3339).map_err(ser::Error::custom)?;
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

/// Milliseconds from the Unix epoch to now.
pub fn now_unix_ms() -> i64 {
    unix_ms(OffsetDateTime::now_utc())
}

/// A point in time as RFC 3339 text; empty for a year beyond 9999.
pub fn text(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

/// Milliseconds since the Unix epoch.
pub fn unix_ms(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1_000_000) as i64
}
