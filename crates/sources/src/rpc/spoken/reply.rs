//! One element of an answer, or a push, in all the ways that nodes write it.

use crate::{rpc::RpcError, words::excerpt};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// One element of an answer, or a push.
#[derive(Default)]
pub(super) struct Reply<'a> {
    pub(super) id: Option<u64>,
    pub(super) result: Option<&'a RawValue>,
    pub(super) error: Option<RpcError>,
    pub(super) pushed: Option<Pushed>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Id,
    Result,
    Error,
    Params,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Reply<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Reply<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an answer of JSON-RPC")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reply<'de>, A::Error> {
                let mut reply = Reply::default();
                while let Some(member) = map.next_key()? {
                    match member {
                        Member::Id => reply.id = id(map.next_value()?).or(reply.id),
                        Member::Result => {
                            let result: &RawValue = map.next_value()?;
                            reply.result = Some(result).filter(|it| !is_null(it)).or(reply.result);
                        }
                        Member::Error => {
                            let error: &RawValue = map.next_value()?;
                            let error = (!is_null(error)).then(|| rpc_error(error));
                            reply.error = error.or(reply.error);
                        }
                        Member::Params => reply.pushed = Some(map.next_value_seed(Push)?),
                        Member::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(reply)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// The number that an id is, or that stands in its text.
fn id(raw: &RawValue) -> Option<u64> {
    raw.get().trim_matches('"').parse().ok()
}

/// An error of any shape.
fn rpc_error(raw: &RawValue) -> RpcError {
    /// What is used of it. Whatever else is in it is skipped.
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(borrow, default)]
        code: Option<&'a RawValue>,
        #[serde(borrow, default)]
        message: Option<&'a RawValue>,
    }
    let Ok(Shape { code, message }) = serde_json::from_str(raw.get()) else {
        return RpcError { code: 0, message: words(raw) };
    };
    let code = code.and_then(|code| code.get().trim_matches('"').parse().ok()).unwrap_or_default();
    RpcError { code, message: message.map_or_else(|| words(raw), words) }
}

/// A text as it reads; anything else as it is written.
fn words(raw: &RawValue) -> String {
    let text = serde_json::from_str::<String>(raw.get());
    excerpt(text.as_deref().unwrap_or_else(|_| raw.get()).as_bytes())
}

/// A head that was pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::rpc) struct Pushed {
    /// The subscription, as it is written.
    pub(in crate::rpc) subscription: String,
    /// The height, or the level, where one stands there.
    pub(in crate::rpc) height: Option<u64>,
}

/// Reads `params` of a push: which subscription it is of, and the height of the head in it.
struct Push;

impl<'de> DeserializeSeed<'de> for Push {
    type Value = Pushed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Pushed, D::Error> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow, default)]
            number: Option<&'a RawValue>,
            /// A certified block, which has its header inside.
            #[serde(borrow, default)]
            block: Option<&'a RawValue>,
            /// Blocks of Etherlink that became final, by the level of its L1.
            #[serde(borrow, default, rename = "l1Level")]
            level: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Certified<'a> {
            #[serde(borrow)]
            header: Number<'a>,
        }
        #[derive(Deserialize)]
        struct Number<'a> {
            #[serde(borrow)]
            number: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow, default)]
            subscription: Option<&'a RawValue>,
            #[serde(borrow, default)]
            result: Option<Head<'a>>,
        }
        let Params { subscription, result } = Params::deserialize(deserializer)?;
        let inside = |block: &'de RawValue| {
            serde_json::from_str::<Certified<'de>>(block.get()).ok().map(|it| it.header.number)
        };
        let level = result.as_ref().and_then(|head| head.level?.get().parse().ok());
        let number = result.and_then(|head| head.number.or_else(|| inside(head.block?)));
        let number = number.and_then(|number| {
            let number = number.get().trim_matches('"');
            u64::from_str_radix(number.strip_prefix("0x")?, 16).ok()
        });
        let height = number.or(level);
        let subscription = subscription.map(|id| id.get().to_owned()).unwrap_or_default();
        Ok(Pushed { subscription, height })
    }
}
