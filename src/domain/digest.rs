//! Digests as text, and names that are made of them.

use sha2::{Digest as _, Sha256};

/// Longest id that is a file name as it is, in bytes.
const MAX_PLAIN_BYTES: usize = 64;

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        write!(digits, "{byte:02x}").unwrap_or_default();
    }
    digits
}

/// The SHA-256 of bytes, as 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The first half of the SHA-256, as 32 hexadecimal digits: enough to name what no peer chooses.
pub fn short_digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..16])
}

/// SHA-256 over parts that cannot run into each other: each is preceded by its length.
#[derive(Default)]
pub struct Parts(Sha256);

impl Parts {
    /// Adds a part.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The digest of all of them, as 64 hexadecimal digits.
    pub fn sha256_hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// An id as a file name, or as a part of one: ids come from peers and may hold anything. Ids of
/// letters, digits, `_` and `-` stay as they are; others become `id.` and a digest. Unlike ids have
/// unlike names, since no plain one holds a dot.
pub fn file_name(id: &str) -> String {
    let is_plain = (1..=MAX_PLAIN_BYTES).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_plain {
        return id.to_owned();
    }
    format!("id.{}", short_digest(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_lower_case_digits() {
        assert_eq!(hex(&[0x00, 0x0a, 0xff]), "000aff");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_hex(b""), empty);
        assert_eq!(short_digest(b""), empty[..32]);
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        let digest = |parts: &[&[u8]]| {
            let mut all = Parts::default();
            parts.iter().for_each(|part| all.add(part));
            all.sha256_hex()
        };
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"a", b""]), digest(&[b"a"]));
        assert_eq!(digest(&[b"a"]), sha256_hex(b"\x01\0\0\0\0\0\0\0a"));
    }

    #[test]
    fn ids_in_file_names_cannot_leave_the_folder() {
        let hostile = ["../../x", "a/b", "", ".", "post:1", "é", &"x".repeat(65)];
        for id in hostile {
            let name = file_name(id);
            let digits = name.strip_prefix("id.").unwrap();
            assert!(
                digits.bytes().all(|b| b.is_ascii_hexdigit()),
                "{id}: {name}"
            );
        }
        assert_eq!(file_name("66b1f0a4_c-2"), "66b1f0a4_c-2");
        assert_ne!(file_name("a/b"), file_name("a:b"));
    }
}
