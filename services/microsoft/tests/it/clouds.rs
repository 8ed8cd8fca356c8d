//! Several clouds, several apps.

use microsoft::{AppRegistration, Cloud, CloudName, Credential, MicrosoftClouds, TokenErrorKind};
use serde_json::json;
use simulator::config::DEFAULT_CLIENT_SECRET;

use crate::support::{CONTOSO, Sim, client_id};

#[tokio::test]
async fn two_clouds_and_an_app_of_an_organizations_own() {
    let (global, high) = (Sim::start().await, Sim::start().await);
    let app = || AppRegistration::new(client_id(), Credential::Secret(DEFAULT_CLIENT_SECRET.into()));
    let default = global.microsoft();
    let cloud = Cloud::gcc_high().reached_at(high.base.clone(), high.base.clone());
    let clouds = MicrosoftClouds::new(default.clone(), [default.with_cloud(cloud, app())]);
    for name in [CloudName::Global, CloudName::Custom] {
        clouds.get(name).unwrap().graph(CONTOSO).probe().await.unwrap();
    }
    // The resource of that cloud is another; the simulator's Graph wants the global one.
    let microsoft = clouds.get(CloudName::GccHigh).unwrap();
    let _ = microsoft.check_token(CONTOSO).await;
    let seen = |counters: serde_json::Value| {
        counters["counters"]["token"].as_object().map_or(0, serde_json::Map::len)
    };
    assert!(seen(global.get("counters").await) == 1 && seen(high.get("counters").await) == 1);

    let made = global.api("POST", "apps", &json!({"name": "Own", "secrets": [{"value": "own"}]})).await;
    let own_id = made["clientId"].as_str().unwrap().parse().unwrap();
    let own = AppRegistration::new(own_id, Credential::Secret("own".into()));
    let own = clouds.with_app(CloudName::Custom, own).unwrap();
    let error = own.check_token(CONTOSO).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::ConsentRevoked, "the tenant never consented to it");
    let consent = json!({"clientId": own_id.to_string()});
    global.api("POST", &format!("tenants/{CONTOSO}/consent"), &consent).await;
    own.graph(CONTOSO).probe().await.unwrap();
    clouds.default_cloud().graph(CONTOSO).probe().await.unwrap();
}
