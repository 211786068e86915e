//! The routes: each a pure look at the state.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Deserialize;

use super::api::{Health, Problem};
use super::page;
use super::state::WebState;
use super::view::Scene;

/// Everything that is served, over TCP and over the local socket alike.
pub fn router(state: WebState) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", page::CSS)))
        .route("/page.js", get(|| asset("text/javascript; charset=utf-8", page::JS)))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/points", get(points))
        .route("/api/v1/points/{*key}", get(point))
        .route("/api/v1/decision", get(decision))
        .route("/api/v1/status", get(status))
        .fallback(|| problem(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(|| {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "HTTP is read-only in this version: writing would need a login. Use the command line on the gateway",
            )
        })
        .layer(DefaultBodyLimit::max(4096))
        .layer(middleware::from_fn(headers))
        .with_state(state)
}

/// Nothing is stored, framed, sniffed, or loaded from elsewhere.
async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    const HEADERS: [(header::HeaderName, &str); 7] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Look at everything at one instant.
fn look<T>(state: &WebState, with: impl FnOnce(Scene<'_>) -> T) -> T {
    let image = Arc::clone(&state.image.borrow());
    let decision = Arc::clone(&state.decision.borrow());
    with(Scene { site: &state.site, plant: &state.plant, image: &image, decision: &decision, now: state.time.now() })
}

async fn problem(status: StatusCode, error: &'static str) -> Response {
    (status, Json(Problem { error: error.to_owned() })).into_response()
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn index(State(state): State<WebState>) -> Response {
    Html(look(&state, page::render).into_string()).into_response()
}

fn health(health: Health) -> Response {
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

async fn healthz(State(state): State<WebState>) -> Response {
    health(state.health())
}

async fn readyz(State(state): State<WebState>) -> Response {
    health(state.readiness())
}

async fn metrics(State(state): State<WebState>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.metrics.render()).into_response()
}

/// Which points.
#[derive(Debug, Default, Deserialize)]
struct Which {
    /// Only keys that begin with this.
    prefix: Option<String>,
}

async fn points(State(state): State<WebState>, Query(which): Query<Which>) -> Response {
    let mut points = look(&state, |scene| scene.points());
    if let Some(prefix) = which.prefix {
        points.points.retain(|point| point.key.starts_with(&prefix));
    }
    Json(points).into_response()
}

async fn point(State(state): State<WebState>, Path(key): Path<String>) -> Response {
    match look(&state, |scene| scene.point_by_key(&key)) {
        Some(point) => Json(point).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no such point").await,
    }
}

async fn decision(State(state): State<WebState>) -> Response {
    Json(look(&state, |scene| scene.decision())).into_response()
}

async fn status(State(state): State<WebState>) -> Response {
    Json(look(&state, |scene| scene.status())).into_response()
}
