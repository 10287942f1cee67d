//! `POST /v1/session`: the token as a cookie.

use super::App;
use crate::{served::Served, server::guard, shared::Shared};
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};

/// Who shows the token gets it as a cookie, for a page: a browser's `EventSource` sends no headers.
pub(super) async fn session<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
) -> Response {
    let Shared { config, .. } = &*shared;
    let Some(token) = &config.token else { return StatusCode::NO_CONTENT.into_response() };
    let cookie = format!(
        "{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000",
        guard::COOKIE_NAME,
        token.shown()
    );
    let cookie = HeaderValue::from_str(&cookie).ok().map(|cookie| (header::SET_COOKIE, cookie));
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(cookie);
    response
}
