//! What strangers said, in words that may be shown.

/// Bytes of an unexpected answer that are shown.
const EXCERPT: usize = 80;

/// The first bytes of `content`, printable.
pub(crate) fn excerpt(content: &[u8]) -> String {
    content[..content.len().min(EXCERPT)].escape_ascii().to_string()
}

/// An error with what caused it. Errors of the clients name only the outermost step.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
