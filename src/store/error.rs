//! Why the database did not take or give something.

use mongodb::error::{Error as DriverError, ErrorKind, WriteFailure};

use crate::domain::JsonError;

/// Server codes that say that a document or command will never be taken: bad value, parse failure,
/// type mismatch, invalid options, illegal operation, failed validation, too large, key too long.
const PERMANENT_CODES: [i32; 9] = [2, 9, 14, 20, 72, 121, 10334, 17280, 17419];

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
    /// True when the same call may succeed later. Refusals that are not known to be final count as
    /// such, so bound the number of tries.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Address(_) | Self::Document(_) | Self::Driver => false,
            Self::Unreachable(_) | Self::Timeout => true,
            Self::Refused { code } => code.is_none_or(|code| !PERMANENT_CODES.contains(&code)),
        }
    }

    /// True when no server was reached or none answered, whatever was asked of it.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Address(_) | Self::Unreachable(_) | Self::Timeout
        )
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
            Self::Refused { code } => *code,
            _ => None,
        }
    }
}

impl From<DriverError> for StoreError {
    fn from(error: DriverError) -> Self {
        match error.kind.as_ref() {
            ErrorKind::Write(WriteFailure::WriteError(failure)) => Self::Refused {
                code: Some(failure.code),
            },
            ErrorKind::Write(WriteFailure::WriteConcernError(failure)) => Self::Refused {
                code: Some(failure.code),
            },
            ErrorKind::Command(failure) => Self::Refused {
                code: Some(failure.code),
            },
            ErrorKind::InvalidArgument { .. }
            | ErrorKind::BsonSerialization(_)
            | ErrorKind::BsonDeserialization(_)
            | ErrorKind::Bson(_) => Self::Driver,
            ErrorKind::Write(_) | ErrorKind::InvalidResponse { .. } => Self::Refused { code: None },
            // Selection, authentication, input and output, pools, name resolution: all of the way to
            // the server.
            _ => Self::Unreachable(error),
        }
    }
}
