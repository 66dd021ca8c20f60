//! How large a run is.

/// The form of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The figures that are promised, with their times: minutes to an hour, on a machine that does nothing else.
    Full,
    /// The same scenarios in under three minutes, for every change; times are taken and not judged.
    Short,
}

impl Scale {
    /// One of two values.
    pub fn choose<T>(self, full: T, short: T) -> T {
        match self {
            Self::Full => full,
            Self::Short => short,
        }
    }

    /// True where times are judged.
    pub fn judges_time(self) -> bool {
        self == Self::Full
    }
}
