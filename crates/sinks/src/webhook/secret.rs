//! Secrets, and signatures by them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, as the specification has them.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets at once: while one is changed for another there are two.
const MOST: usize = 8;

/// Why secrets cannot be used. It shows nothing of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("there is no secret")]
    None,
    /// There are too many.
    #[error("there are more than {MOST} secrets")]
    TooMany,
    /// One is not as it has to be.
    #[error("secret {0} is not `whsec_` and 24 to 64 bytes in base64")]
    Malformed(usize),
}

/// The secrets of an endpoint. Everything is signed by each of them, so that they can be changed while it runs.
#[derive(Clone)]
pub struct Secrets(Vec<Vec<u8>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Secrets").field(&self.0.len()).finish()
    }
}

impl Secrets {
    /// Reads secrets, one a line.
    ///
    /// # Errors
    ///
    /// There is none, or one is malformed.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let read = |line: &str| {
            let bytes = STANDARD.decode(line.strip_prefix(PREFIX)?).ok();
            bytes.filter(|bytes| BYTES.contains(&bytes.len()))
        };
        let mut secrets = Vec::new();
        for (index, line) in lines.enumerate() {
            if index == MOST {
                return Err(Unusable::TooMany);
            }
            secrets.push(read(line).ok_or(Unusable::Malformed(index + 1))?);
        }
        if secrets.is_empty() { Err(Unusable::None) } else { Ok(Self(secrets)) }
    }

    /// The header `webhook-signature` of a message.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let sign = |secret: &Vec<u8>| {
            // An HMAC takes keys of every length.
            let mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
            let code = mac.chain_update(signed.as_bytes()).finalize().into_bytes();
            Some(format!("v1,{}", STANDARD.encode(code)))
        };
        self.0.iter().filter_map(sign).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature is what a published library makes of the rest: `standardwebhooks` 1.1.0 for Python.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: u64 = 1_614_265_330;
    const BODY: &str = "{\"test\": 2432232314}";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn a_signature_is_the_one_that_a_published_library_makes() {
        let secrets = Secrets::parse(SECRET).unwrap();
        assert_eq!(secrets.sign(ID, TIMESTAMP, BODY), SIGNATURE);
        for (id, timestamp, body) in
            [("msg_x", TIMESTAMP, BODY), (ID, TIMESTAMP + 1, BODY), (ID, TIMESTAMP, "{}")]
        {
            assert_ne!(secrets.sign(id, timestamp, body), SIGNATURE);
        }
    }

    #[test]
    fn each_secret_signs() {
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let secrets = Secrets::parse(&format!("\n{other}\n  {SECRET}\n")).unwrap();
        let signed = secrets.sign(ID, TIMESTAMP, BODY);
        let parts: Vec<_> = signed.split(' ').collect();
        assert_eq!((parts.len(), parts[1]), (2, SIGNATURE));
        assert_eq!(parts[0], Secrets::parse(&other).unwrap().sign(ID, TIMESTAMP, BODY));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        let bytes = |count: usize| format!("whsec_{}", STANDARD.encode(vec![1; count]));
        for (text, wanted) in [
            (String::new(), Unusable::None),
            ("\n \n".into(), Unusable::None),
            ("hunter2".into(), Unusable::Malformed(1)),
            (format!("{SECRET}\nwhsec_hunter2"), Unusable::Malformed(2)),
            (bytes(23), Unusable::Malformed(1)),
            (bytes(65), Unusable::Malformed(1)),
            ([SECRET; MOST + 1].join("\n"), Unusable::TooMany),
        ] {
            let refused = Secrets::parse(&text).unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
            assert_eq!(refused, wanted, "{text}");
        }
        assert!(Secrets::parse(&bytes(24)).is_ok() && Secrets::parse(&bytes(64)).is_ok());
        assert_eq!(format!("{:?}", Secrets::parse(SECRET).unwrap()), "Secrets(1)");
    }
}
