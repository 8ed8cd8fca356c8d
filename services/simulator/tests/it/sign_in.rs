use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};
use simulator::config::DEFAULT_CLIENT_SECRET;

use crate::support::{CLIENT, CONTOSO, REDIRECT, Sim, callback, start};

// The example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const PKCE: [(&str, &str); 2] = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];

async fn redeem(sim: &Sim, authority: &str, code: &str, verifier: Option<&str>) -> (u16, Value) {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("client_secret", DEFAULT_CLIENT_SECRET),
        ("redirect_uri", REDIRECT),
        ("code", code),
    ];
    fields.extend(verifier.map(|verifier| ("code_verifier", verifier)));
    let (status, body) = sim.token_request(authority, &fields).await;
    (status.as_u16(), body)
}

/// The claims, verified with the published key that the header names.
async fn claims(sim: &Sim, token: &Value) -> Value {
    let token = token.as_str().unwrap();
    let header = decode_header(token).unwrap();
    assert_eq!(header.alg, Algorithm::RS256);
    let keys: JwkSet = sim.get("/common/discovery/v2.0/keys").await.json().await.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[CLIENT]);
    decode::<Value>(token, &key, &validation).unwrap().claims
}

#[tokio::test]
async fn the_page_lists_people_and_a_pick_leads_to_a_verified_identity() {
    let sim = start().await;
    let page =
        sim.http.get(sim.authorize_url("organizations", &PKCE)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(r#"data-user="ada@contoso.example""#), "{page}");
    assert!(page.contains(r#"data-user="umar@northwind.example""#));
    assert!(!page.contains("mallory@outlook.example"));

    let answer = sim.sign_in("organizations", "ada@contoso.example", &PKCE).await;
    assert_eq!(answer["state"], "s 1");
    let (status, body) = redeem(&sim, "organizations", &answer["code"], Some(VERIFIER)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["scope"], "openid profile");
    let claims = claims(&sim, &body["id_token"]).await;
    assert_eq!(claims["iss"], format!("{}/{CONTOSO}/v2.0", sim.base));
    assert_eq!(claims["tid"], CONTOSO);
    assert_eq!(claims["ver"], "2.0");
    assert_eq!(claims["nonce"], "n1");
    assert_eq!(claims["preferred_username"], "ada@contoso.example");
    assert_eq!(claims["acct"], 0);
    let roles = ["62e90394-69f5-4237-9190-012177145e10", "b79fbf4d-3ef9-4689-8143-76b194e85509"];
    assert_eq!(claims["wids"], json!(roles));
    assert!(claims["oid"].is_string());
    assert_ne!(claims["sub"], claims["oid"]);
}

#[tokio::test]
async fn without_profile_there_is_no_name_and_no_oid() {
    let sim = start().await;
    let answer = sim.sign_in(CONTOSO, "umar@contoso.example", &[("scope", "openid")]).await;
    let (_, body) = redeem(&sim, CONTOSO, &answer["code"], None).await;
    let claims = claims(&sim, &body["id_token"]).await;
    for absent in ["oid", "name", "preferred_username", "email"] {
        assert_eq!(claims[absent], Value::Null, "{absent}");
    }
    assert_eq!(claims["wids"], json!(["b79fbf4d-3ef9-4689-8143-76b194e85509"]));
}

#[tokio::test]
async fn a_guest_is_marked_as_one() {
    let sim = start().await;
    let guest = "gus_partner.example#EXT#@contoso.example";
    let answer = sim.sign_in(CONTOSO, guest, &[]).await;
    let (_, body) = redeem(&sim, CONTOSO, &answer["code"], None).await;
    let claims = claims(&sim, &body["id_token"]).await;
    assert_eq!(claims["acct"], 1);
    assert!(claims["idp"].as_str().unwrap().starts_with("https://sts.windows.net/"));
    assert_eq!(claims["wids"], Value::Null);
}

#[tokio::test]
async fn a_personal_account_signs_in_on_common_alone_with_its_own_key() {
    let sim = start().await;
    let url = sim.authorize_url("organizations", &[]);
    let refused = sim.http.post(url).form(&[("user", "mallory@outlook.example")]).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("AADSTS50020"));

    let answer = sim.sign_in("common", "mallory@outlook.example", &[]).await;
    let (_, body) = redeem(&sim, "common", &answer["code"], None).await;
    let claims = claims(&sim, &body["id_token"]).await;
    assert_eq!(claims["tid"], "9188040d-6c67-4c5b-b112-36a304b66dad");
}

#[tokio::test]
async fn a_code_works_once_at_its_authority_with_its_verifier_and_in_time() {
    let sim = start().await;
    let code = async |extra: &[(&str, &str)]| {
        sim.sign_in("organizations", "ada@contoso.example", extra).await["code"].clone()
    };
    let one = code(&PKCE).await;
    let wrong = "a".repeat(43);
    let refused =
        |answer: (u16, Value)| (answer.0, answer.1["error"].clone(), answer.1["error_codes"][0].clone());
    let expected = |code: u32| (400, json!("invalid_grant"), json!(code));
    assert_eq!(refused(redeem(&sim, "organizations", &one, Some(&wrong)).await), expected(501_481));
    assert_eq!(refused(redeem(&sim, "organizations", &one, None).await), expected(50_148));
    assert_eq!(refused(redeem(&sim, CONTOSO, &one, Some(VERIFIER)).await), expected(700_005));
    assert_eq!(redeem(&sim, "organizations", &one, Some(VERIFIER)).await.0, 200);
    assert_eq!(refused(redeem(&sim, "organizations", &one, Some(VERIFIER)).await), expected(54_005));

    let late = code(&[]).await;
    sim.post("/clock", json!({"advanceSeconds": 700, "tokens": true})).await;
    assert_eq!(refused(redeem(&sim, "organizations", &late, None).await), expected(70_008));
}

#[tokio::test]
async fn faults_of_client_and_redirect_stay_on_the_page_and_others_go_back() {
    let sim = start().await;
    let get = async |extra: &[(&str, &str)]| {
        sim.http.get(sim.authorize_url("organizations", extra)).send().await.unwrap()
    };
    let shown = async |extra: &[(&str, &str)]| get(extra).await.text().await.unwrap();
    assert!(shown(&[("client_id", "nobody")]).await.contains("AADSTS700016"));
    assert!(shown(&[("redirect_uri", "http://127.0.0.1:9/callback/")]).await.contains("AADSTS50011"));
    assert_eq!(callback(&get(&[("response_type", "token")]).await)["error"], "unsupported_response_type");
    assert_eq!(callback(&get(&[("code_challenge", CHALLENGE)]).await)["error"], "invalid_request");
    assert_eq!(callback(&get(&[("scope", "")]).await)["error"], "invalid_request");
    let none = callback(&get(&[("prompt", "none")]).await);
    assert_eq!((none["error"].as_str(), none["state"].as_str()), ("login_required", "s 1"));
}

#[tokio::test]
async fn a_session_signs_in_silently_until_logout_and_cancel_is_access_denied() {
    let sim = start().await;
    sim.sign_in("organizations", "ada@contoso.example", &[]).await;
    let silent =
        sim.http.get(sim.authorize_url("organizations", &[("prompt", "none")])).send().await.unwrap();
    assert!(callback(&silent).contains_key("code"));
    let picked = sim
        .http
        .get(sim.authorize_url("organizations", &[("prompt", "select_account")]))
        .send()
        .await
        .unwrap();
    assert_eq!(picked.status(), 200);

    let logout =
        sim.get(&format!("/organizations/oauth2/v2.0/logout?post_logout_redirect_uri={REDIRECT}")).await;
    assert_eq!(logout.headers()["location"], REDIRECT);
    let again = sim.http.get(sim.authorize_url("organizations", &[("prompt", "none")])).send().await.unwrap();
    assert_eq!(callback(&again)["error"], "login_required");
    let url = sim.authorize_url("organizations", &[]);
    let cancelled = sim.http.post(url).form(&[("decision", "cancel")]).send().await.unwrap();
    assert_eq!(callback(&cancelled)["error"], "access_denied");
}

#[tokio::test]
async fn form_post_answers_with_a_form() {
    let sim = start().await;
    let url = sim.authorize_url("organizations", &[("response_mode", "form_post")]);
    let response = sim.http.post(url).form(&[("user", "ada@contoso.example")]).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let page = response.text().await.unwrap();
    assert!(page.contains(&format!(r#"action="{REDIRECT}""#)), "{page}");
    assert!(page.contains(r#"name="code""#) && page.contains(r#"name="state" value="s 1""#), "{page}");
}
