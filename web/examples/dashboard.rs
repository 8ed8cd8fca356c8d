//! The dashboard on a port, with an organization that lives, for looking at its pages:
//! `cargo run -p web --example dashboard`. It needs the test servers that `./dev test` starts
//! (`GATEHOUSE_TEST_DATABASE_URL`, `GATEHOUSE_TEST_REDIS_URL`), and prints where to begin.

#[path = "../tests/it/world.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
#[expect(clippy::unwrap_used, reason = "made for tests")]
mod world;

use std::sync::Arc;

use axum::extract::{Path, RawQuery};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use domain::time::SystemClock;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it tells where to begin")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:7070").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let world = world::World::at(Arc::new(SystemClock), &origin).await;
    let (tenant, browser) = world.tenant("Contoso", "", 240, 600).await;
    let (fresh, newcomer) = world.fresh("Fabrikam").await;
    println!("{origin}/as/{}/orgs/{}", browser.cookie, tenant.org);
    println!("{origin}/as/{}/orgs/{fresh}", newcomer.cookie);
    println!("event {}", tenant.events.first().map(ToString::to_string).unwrap_or_default());
    let as_somebody = |Path((cookie, to)): Path<(String, String)>, RawQuery(query): RawQuery| async move {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let set = [(header::SET_COOKIE, format!("{cookie}; Path=/; HttpOnly"))];
        Response::into_response((set, Redirect::to(&format!("/{to}{query}"))).into_response())
    };
    let router = world.router.clone().route("/as/{cookie}/{*to}", get(as_somebody));
    axum::serve(listener, router).await?;
    Ok(())
}
