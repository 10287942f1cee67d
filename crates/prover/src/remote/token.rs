//! What a scheduler shows a worker that does not prove for everybody.

use commonware_cryptography::{Hasher as _, Sha256};
use std::{fmt, fs, io, path::Path};
use subtle::ConstantTimeEq as _;

/// A secret that a worker and its schedulers share. Neither shown nor compared in a way that its content could be
/// learned from.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Why there is no token. Nothing of a file's content is repeated.
#[derive(Debug, thiserror::Error)]
pub enum NoToken {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It is none, or can be guessed.
    #[error("a token has {} to {} visible ASCII characters and no space", Token::MIN, Token::MAX)]
    Malformed,
}

impl Token {
    /// Fewest characters.
    pub const MIN: usize = 32;
    /// Most characters.
    pub const MAX: usize = 512;

    /// The token `text`.
    ///
    /// # Errors
    ///
    /// [`NoToken::Malformed`].
    pub fn new(text: &str) -> Result<Self, NoToken> {
        let fits = (Self::MIN..=Self::MAX).contains(&text.len());
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && plain).then(|| Self(text.to_owned())).ok_or(NoToken::Malformed)
    }

    /// The token in a file, without the white space around it.
    ///
    /// # Errors
    ///
    /// [`NoToken`].
    pub fn read(path: &Path) -> Result<Self, NoToken> {
        let failed = |error: io::Error| NoToken::File { path: path.display().to_string(), error };
        if fs::metadata(path).map_err(failed)?.len() > 2 * Self::MAX as u64 {
            return Err(NoToken::Malformed);
        }
        let bytes = fs::read(path).map_err(failed)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| NoToken::Malformed)?;
        Self::new(text.trim())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an `Authorization` header shows it. How long that takes says nothing about the token.
    pub(super) fn is_shown_in(&self, header: &[u8]) -> bool {
        let (scheme, shown) = header.split_at_checked(7).unwrap_or((b"", b""));
        let [ours, theirs] = [self.0.as_bytes(), shown].map(|token| Sha256::hash(&[token]));
        scheme.eq_ignore_ascii_case(b"bearer ") & bool::from(ours.0.ct_eq(&theirs.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_plain_and_shown_to_nobody() {
        let text = "0123456789abcdef0123456789abcdef";
        let token = Token::new(text).unwrap();
        assert_eq!(format!("{token:?}"), "Token");
        for (header, shown) in [
            (format!("Bearer {text}"), true),
            (format!("bearer {text}"), true),
            (format!("Bearer  {text}"), false),
            (format!("Bearer {}", &text[1..]), false),
            (format!("Basic {text}"), false),
            ("Bearer ".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(token.is_shown_in(header.as_bytes()), shown, "{header}");
        }
        for bad in ["", &text[1..], &format!("{text} a"), &format!("{text}é"), &text.repeat(17)] {
            assert!(Token::new(bad).is_err(), "{bad}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, format!("{text}\n")).unwrap();
        assert!(Token::read(&path).unwrap().is_shown_in(format!("Bearer {text}").as_bytes()));
        for content in ["hunter2", &text.repeat(40), "\u{fffd}"] {
            std::fs::write(&path, content).unwrap();
            let refused = Token::read(&path).unwrap_err().to_string();
            assert!(refused.contains("32 to 512") && !refused.contains(content), "{refused}");
        }
        let refused = Token::read(&directory.path().join("none")).unwrap_err().to_string();
        assert!(refused.contains("none: No such file"), "{refused}");
    }
}
