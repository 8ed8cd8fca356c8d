use reqwest::Response;
use serde_json::json;
use url::Url;

use crate::support::{CLIENT, CONTOSO, REDIRECT, Sim, callback, start};

fn url(sim: &Sim, path: &str, extra: &[(&str, &str)]) -> Url {
    let mut parameters = vec![
        ("client_id", CLIENT),
        ("redirect_uri", REDIRECT),
        ("scope", "https://graph.microsoft.com/.default"),
        ("state", "st"),
    ];
    parameters.retain(|(name, _)| !extra.iter().any(|(other, _)| other == name));
    parameters.extend(extra.iter().filter(|(_, value)| !value.is_empty()));
    Url::parse_with_params(&sim.url(path), parameters).unwrap()
}

async fn decide(sim: &Sim, path: &str, user: &str, decision: &str) -> Response {
    let url = url(sim, path, &[]);
    let signed_in = sim.http.post(url.clone()).form(&[("user", user)]).send().await.unwrap();
    assert_eq!(signed_in.status(), 302);
    sim.http.post(url).form(&[("decision", decision)]).send().await.unwrap()
}

#[tokio::test]
async fn approval_comes_back_with_tenant_and_scope_and_grants_the_roles() {
    let sim = start().await;
    let path = format!("/{CONTOSO}/v2.0/adminconsent");
    let page = sim.http.get(url(&sim, &path, &[])).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(r#"data-user="priya@contoso.example""#) && !page.contains("fabrikam"), "{page}");
    let answer = callback(&decide(&sim, &path, "priya@contoso.example", "approve").await);
    assert_eq!(answer["admin_consent"], "True");
    assert_eq!(answer["tenant"], CONTOSO);
    assert_eq!(answer["state"], "st");
    assert!(answer["scope"].ends_with(" https://graph.microsoft.com/.default"), "{answer:?}");
    assert!(!answer.contains_key("error"));
    let token = sim.token().await;
    assert_eq!(sim.graph(&token, "/v1.0/organization").await.0, 200);
}

#[tokio::test]
async fn a_refusal_says_admin_consent_true_as_well() {
    let sim = start().await;
    let path = "/organizations/v2.0/adminconsent";
    let answer = callback(&decide(&sim, path, "ada@contoso.example", "cancel").await);
    assert_eq!(answer["admin_consent"], "True");
    assert_eq!(answer["error"], "consent_required");
    assert!(answer["error_description"].starts_with("AADSTS65004: "), "{answer:?}");
    assert!(answer["error_description"].contains("\r\nTrace ID: "));
    assert!(!answer.contains_key("tenant"));

    sim.settings(json!({"cancelError": "accessDenied"})).await;
    let answer = callback(&decide(&sim, path, "ada@contoso.example", "cancel").await);
    assert_eq!((answer["error"].as_str(), answer["error_subcode"].as_str()), ("access_denied", "cancel"));
}

#[tokio::test]
async fn who_is_not_privileged_enough_stays_on_the_page() {
    let sim = start().await;
    let path = format!("/{CONTOSO}/v2.0/adminconsent");
    for user in ["umar@contoso.example", "cleo@contoso.example", "gus_partner.example#EXT#@contoso.example"] {
        let response = decide(&sim, &path, user, "approve").await;
        assert_eq!(response.status(), 403);
        assert!(response.text().await.unwrap().contains("AADSTS90094"));
    }
    assert_eq!(sim.app_token(CONTOSO).await.0, 401);
}

#[tokio::test]
async fn a_user_of_another_tenant_cannot_consent_here() {
    let sim = start().await;
    let path = format!("/{CONTOSO}/v2.0/adminconsent");
    let response =
        sim.http.post(url(&sim, &path, &[])).form(&[("user", "ada@fabrikam.example")]).send().await.unwrap();
    assert!(response.text().await.unwrap().contains("AADSTS50020"));
    // A session of that tenant does not count here either: the page asks for a user.
    sim.sign_in("organizations", "ada@fabrikam.example", &[]).await;
    let page = sim.http.get(url(&sim, &path, &[])).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(r#"data-user="ada@contoso.example""#), "{page}");
}

#[tokio::test]
async fn the_older_endpoint_has_its_own_answers() {
    let sim = start().await;
    let path = format!("/{CONTOSO}/adminconsent");
    let answer = callback(&decide(&sim, &path, "ada@contoso.example", "cancel").await);
    assert_eq!(answer["error"], "permission_denied");
    assert_eq!(answer["error_description"], "The admin canceled the request");
    assert!(!answer.contains_key("admin_consent"));
    let answer = callback(&decide(&sim, &path, "ada@contoso.example", "approve").await);
    assert_eq!((answer["tenant"].as_str(), answer["admin_consent"].as_str()), (CONTOSO, "True"));
    assert!(!answer.contains_key("scope"));
}

#[tokio::test]
async fn a_wrong_request_is_shown_not_sent() {
    let sim = start().await;
    let path = format!("/{CONTOSO}/v2.0/adminconsent");
    let shown = async |path: &str, extra: &[(&str, &str)]| {
        sim.http.get(url(&sim, path, extra)).send().await.unwrap().text().await.unwrap()
    };
    assert!(shown(&path, &[("client_id", "nobody")]).await.contains("AADSTS700016"));
    assert!(shown(&path, &[("redirect_uri", "http://evil.example/")]).await.contains("AADSTS50011"));
    assert!(shown(&path, &[("scope", "")]).await.contains("AADSTS900144"));
    assert!(shown("/common/v2.0/adminconsent", &[]).await.contains("AADSTS90023"));
    sim.patch(&format!("/apps/{CLIENT}"), json!({"multiTenant": false})).await;
    assert!(shown(&path, &[]).await.contains("AADSTS50194"));
}

#[tokio::test]
async fn an_unlicensed_tenant_lacks_the_intune_api() {
    let sim = start().await;
    sim.patch(&format!("/apps/{CLIENT}"), json!({"requiredRoles": ["get_device_compliance"]})).await;
    sim.patch(&format!("/tenants/{CONTOSO}"), json!({"licensed": false})).await;
    let path = format!("/{CONTOSO}/v2.0/adminconsent");
    let response = decide(&sim, &path, "ada@contoso.example", "approve").await;
    assert!(response.text().await.unwrap().contains("AADSTS650052"));
}

#[tokio::test]
async fn delegated_scopes_grant_no_app_role() {
    let sim = start().await;
    let path = format!("/{CONTOSO}/v2.0/adminconsent");
    let url = url(&sim, &path, &[("scope", "https://graph.microsoft.com/User.Read")]);
    sim.http.post(url.clone()).form(&[("user", "ada@contoso.example")]).send().await.unwrap();
    callback(&sim.http.post(url).form(&[("decision", "approve")]).send().await.unwrap());
    let token = sim.token().await;
    assert_eq!(sim.graph(&token, "/v1.0/organization").await.0, 403);
}
