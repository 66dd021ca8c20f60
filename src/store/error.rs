//! Why the database did not take or give something.

use mongodb::error::{Error as DriverError, ErrorKind, WriteFailure};

use crate::domain::JsonError;

/// Server codes that say that a document or command will never be taken: bad value, parse failure,
/// type mismatch, invalid options, illegal operation, failed validation, too large, key too long.
const PERMANENT_CODES: [i32; 9] = [2, 9, 14, 20, 72, 121, 10334, 17280, 17419];

/// Server codes that say that this server takes nothing now, or could not wait until enough others have
/// it: host unreachable or not found, lock timeout, network timeout, shutting down, write concern failed or
/// not to be satisfied, primary stepped down, exceeded time limits, socket, no primary in any of its wordings,
/// interrupted by a change of primary, its disk full.
const NOT_NOW_CODES: [i32; 20] = [
    6, 7, 24, 50, 64, 89, 91, 100, 133, 189, 202, 262, 9001, 10_058, 10_107, 11_600, 11_602,
    13_435, 13_436, 14_031,
];

/// Server codes that say that we are not let in: user not found, authentication failed or due again.
const DENIED_CODES: [i32; 3] = [11, 18, 391];

/// Server codes that say that the user may not do this: no permission, and what MongoDB's own cloud answers
/// for that and for a full quota.
const FORBIDDEN_CODES: [i32; 2] = [13, 8000];

/// Label of the driver for what is worth another try at another server.
const RETRYABLE_WRITE: &str = "RetryableWriteError";

/// Server code of a document that would repeat a unique key.
const DUPLICATE_KEY: i32 = 11_000;

/// Why the database did not do what was asked. Messages of the server that may quote a document are
/// not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address can't be used.
    #[error("the database's address is not valid")]
    Address(#[source] DriverError),
    /// A stored write can't be read back.
    #[error("a stored document is not extended JSON")]
    Document(#[source] JsonError),
    /// No server, or no connection to it.
    #[error("the database can't be reached")]
    Unreachable(#[source] DriverError),
    /// A server, but no answer.
    #[error("the database did not answer in time")]
    Timeout,
    /// The database is known to be away: nothing was asked.
    #[error("the database is away and is not asked now")]
    BreakerOpen,
    /// A server that takes nothing now, with its code where it gave one.
    #[error("the database takes nothing now (code {code:?})")]
    NotNow {
        /// The server's error code.
        code: Option<i32>,
    },
    /// A server that does not let us in.
    #[error("the database denies access; check user and password in mongo.url (DATABASE_URL)")]
    Denied,
    /// A server that lets us in, but not do this.
    #[error("the database does not permit it (code {code:?}); check the rights of its user")]
    Forbidden {
        /// The server's error code.
        code: Option<i32>,
    },
    /// The server refused, with this code where it gave one.
    #[error("the database refused with code {code:?}")]
    Refused {
        /// The server's error code.
        code: Option<i32>,
    },
    /// The driver could not make a message of it.
    #[error("the database driver refused")]
    Driver,
}

impl StoreError {
    /// True when the same call may succeed later. Refusals that are not known to be final are among
    /// them: callers bound the number of tries.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Address(_) | Self::Document(_) | Self::Driver => false,
            Self::Unreachable(_)
            | Self::Timeout
            | Self::BreakerOpen
            | Self::NotNow { .. }
            | Self::Denied
            | Self::Forbidden { .. } => true,
            Self::Refused { code } => code.is_none_or(|code| !PERMANENT_CODES.contains(&code)),
        }
    }

    /// True when it is about the database and not about what was asked of it: no server was reached,
    /// none answered, or none takes anything of ours. Then nothing is given up: it waits until somebody
    /// has helped.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Address(_)
                | Self::Unreachable(_)
                | Self::Timeout
                | Self::BreakerOpen
                | Self::NotNow { .. }
                | Self::Denied
                | Self::Forbidden { .. }
        )
    }

    /// True when no other call would fare better, or none was made for that.
    pub fn is_outage(&self) -> bool {
        self.is_absence() && !matches!(self, Self::Forbidden { .. })
    }

    pub(super) fn is_duplicate_key(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Some(DUPLICATE_KEY)
            }
        )
    }

    pub(super) fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { code } | Self::NotNow { code } | Self::Forbidden { code } => *code,
            _ => None,
        }
    }
}

impl From<DriverError> for StoreError {
    fn from(error: DriverError) -> Self {
        match error.kind.as_ref() {
            ErrorKind::Write(WriteFailure::WriteError(failure)) => Self::of_code(failure.code),
            ErrorKind::Write(WriteFailure::WriteConcernError(failure)) => {
                Self::of_code(failure.code)
            }
            ErrorKind::Command(failure) => match Self::of_code(failure.code) {
                Self::Refused { code } if error.contains_label(RETRYABLE_WRITE) => {
                    Self::NotNow { code }
                }
                of_code => of_code,
            },
            ErrorKind::Authentication { .. } => Self::Denied,
            ErrorKind::InvalidArgument { .. }
            | ErrorKind::BsonSerialization(_)
            | ErrorKind::BsonDeserialization(_)
            | ErrorKind::Bson(_) => Self::Driver,
            ErrorKind::Write(_) | ErrorKind::InvalidResponse { .. } => Self::Refused { code: None },
            // Selection, input and output, pools, name resolution: all of the way to the server.
            _ => Self::Unreachable(error),
        }
    }
}

impl StoreError {
    fn of_code(number: i32) -> Self {
        let code = Some(number);
        if NOT_NOW_CODES.contains(&number) {
            Self::NotNow { code }
        } else if DENIED_CODES.contains(&number) {
            Self::Denied
        } else if FORBIDDEN_CODES.contains(&number) {
            Self::Forbidden { code }
        } else {
            Self::Refused { code }
        }
    }
}
