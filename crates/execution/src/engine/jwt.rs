//! Tokens for the Engine API: JSON Web Tokens signed by HMAC with SHA-256, each good for about a minute.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::{
    fmt, fs,
    path::Path,
    time::{Duration, SystemTime},
};

/// How far the time of a token may be from the client's clock, by the specification.
pub const SKEW_MAX: Duration = Duration::from_secs(60);

/// The longest file that is read as a secret.
const FILE_MAX: u64 = 1_024;

/// Why a secret cannot be used. No message repeats it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: String,
        /// What the system said.
        error: String,
    },
    /// Something else than 32 bytes in hex.
    #[error("{path} is not a secret: 64 hexadecimal digits are expected, with or without 0x")]
    NotHex {
        /// The path of the file.
        path: String,
    },
}

/// The secret that an execution client and whoever drives it share. It is shown nowhere.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The secret of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the file that an execution client was started with: 32 bytes in hex.
    ///
    /// # Errors
    ///
    /// It cannot be read, or holds something else.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let shown = || path.display().to_string();
        let failed = |error: std::io::Error| {
            let error = error.to_string();
            SecretError::File { path: shown(), error }
        };
        if fs::metadata(path).map_err(failed)?.len() > FILE_MAX {
            return Err(SecretError::NotHex { path: shown() });
        }
        let bytes = fs::read(path).map_err(failed)?;
        let text = String::from_utf8(bytes).ok();
        let secret = text.and_then(|text| Self::parse(text.trim()));
        secret.ok_or_else(|| SecretError::NotHex { path: shown() })
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let mut bytes = [0; 32];
        // It takes a prefix of its own, and none is left here.
        if digits.starts_with("0x")
            || alloy_primitives::hex::decode_to_slice(digits, &mut bytes).is_err()
        {
            return None;
        }
        Some(Self(bytes))
    }

    /// A token that was made at `now`.
    pub fn token(&self, now: SystemTime) -> String {
        // A clock before 1970 is no clock that a client would accept.
        let issued = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":{issued}}}"#));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn sign(&self, message: &[u8]) -> [u8; 32] {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length will do");
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_others_make_of_the_same_secret_and_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_999);
        // By: printf '%s' "$header.$claims" | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…
        assert_eq!(
            Secret::new([7; 32]).token(now),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDB9.q7vdxvYJozZ6UoScEnMgFSivYb-nzMGBXN-k-GD5t_8"
        );
    }

    #[test]
    fn a_secret_is_64_digits_of_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwt.hex");
        let digits = "ab".repeat(32);
        let table = [
            (format!("{digits}\n"), true),
            (format!("  0x{digits}  "), true),
            (format!("0X{}", digits.to_uppercase()), true),
            (format!("0x0x{digits}"), false),
            (digits[1..].to_owned(), false),
            (format!("{digits}00"), false),
            ("z".repeat(64), false),
            (String::new(), false),
            ("a".repeat(5_000), false),
        ];
        for (text, good) in table {
            fs::write(&file, &text).unwrap();
            match Secret::read(&file) {
                Ok(secret) => assert!(good && secret.0 == [0xab; 32], "{text}"),
                Err(error) => {
                    assert!(!good, "{text}: {error}");
                    assert!(text.is_empty() || !error.to_string().contains(text.trim()), "{error}");
                }
            }
        }
        let missing = Secret::read(&directory.path().join("none")).unwrap_err();
        assert!(matches!(missing, SecretError::File { .. }), "{missing}");
        assert_eq!(format!("{:?}", Secret::new([1; 32])), "Secret");
    }
}
