//! The static files, embedded in the binary and named by their content, so that they may be cached for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

const CSS: &str = concat!(
    include_str!("../static/css/tokens.css"),
    include_str!("../static/css/base.css"),
    include_str!("../static/css/layout.css"),
    include_str!("../static/css/components.css"),
    include_str!("../static/css/pages.css"),
    include_str!("../static/css/policy.css"),
    include_str!("../static/css/analysis.css"),
);

struct Asset {
    /// `gatehouse.0123456789abcdef.css`
    name: String,
    stem: &'static str,
    content_type: &'static str,
    body: &'static str,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let asset = |stem: &'static str, extension: &str, content_type, body: &'static str| {
        let digest = Sha256::digest(body.as_bytes());
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Asset { name: format!("{stem}.{hash}.{extension}"), stem, content_type, body }
    };
    vec![
        asset("gatehouse", "css", "text/css; charset=utf-8", CSS),
        asset("page", "js", "text/javascript; charset=utf-8", include_str!("../static/js/page.js")),
        asset("live", "js", "text/javascript; charset=utf-8", include_str!("../static/js/live.js")),
        asset("policy", "js", "text/javascript; charset=utf-8", include_str!("../static/js/policy.js")),
        asset("icons", "svg", "image/svg+xml", include_str!("../static/icons.svg")),
        asset("favicon", "svg", "image/svg+xml", include_str!("../static/favicon.svg")),
    ]
});

/// The path of a file by its stem, such as `gatehouse` for the style sheet. Empty for a stem that is not there,
/// which a test rules out.
pub(crate) fn url(stem: &str) -> String {
    ASSETS
        .iter()
        .find(|asset| asset.stem == stem)
        .map_or_else(String::new, |asset| format!("/static/{}", asset.name))
}

/// `GET /static/{file}`
pub(crate) async fn serve(Path(file): Path<String>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, asset.body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_content() {
        for stem in ["gatehouse", "page", "live", "policy", "icons", "favicon"] {
            let url = url(stem);
            assert!(url.starts_with(&format!("/static/{stem}.")), "{url}");
            assert_eq!(url.split('.').nth(1).unwrap().len(), 16);
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for asset in ASSETS.iter() {
            let body = asset.body.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !body.contains("http://") && !body.contains("https://"),
                "{} names another host",
                asset.name
            );
        }
    }
}
