//! Accounts and users of NATS as an operator signs them: what the program `nsc` writes.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator, with one account that may use JetStream.
pub(crate) struct Operator {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
}

/// `claims` of `subject`, signed by `issuer`.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": subject.public_key(),
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "name": "tests",
        "sub": subject.public_key(),
        "nats": claims,
    });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(body));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            system: KeyPair::new_account(),
            account: KeyPair::new_account(),
        }
    }

    /// What a server has to know of it.
    pub(crate) fn configuration(&self) -> String {
        let Self { operator, system, account } = self;
        let itself = token(operator, operator, &json!({ "type": "operator", "version": 2 }));
        let of = |account: &KeyPair, storage: i64| {
            let limits = json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                "wildcards": true, "conn": -1, "leaf": -1, "mem_storage": storage,
                "disk_storage": storage, "streams": storage, "consumer": storage,
            });
            token(operator, account, &json!({ "limits": limits, "type": "account", "version": 2 }))
        };
        let (system_key, account_key) = (system.public_key(), account.public_key());
        format!(
            "operator: {itself}\nsystem_account: {system_key}\nresolver: MEMORY\nresolver_preload: {{\n  \
             {system_key}: {}\n  {account_key}: {}\n}}\n",
            of(system, 0),
            of(account, -1),
        )
    }

    /// The credentials of a user of its account, as a file has them.
    pub(crate) fn user(&self) -> String {
        let user = KeyPair::new_user();
        let claims = json!({
            "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
        });
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            token(&self.account, &user, &claims),
            user.seed().unwrap(),
        )
    }
}
