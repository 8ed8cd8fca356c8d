//! `organization`, `users/{id}`, and where Intune's other services answer.

use axum::http::StatusCode;
use serde_json::json;

use super::{Answer, Caller, error::Ids};
use crate::{
    clock::stable_guid,
    directory::roles::{
        APPLICATION_READ, DIRECTORY_READ, ORGANIZATION_READ, SERVICE_PRINCIPAL_ENDPOINT_READ, USER_READ,
    },
    world::World,
};

pub fn organization(world: &World, ids: &Ids, caller: &Caller) -> Answer {
    if !caller.has_any(&[ORGANIZATION_READ, DIRECTORY_READ]) {
        return ids.directory_forbidden();
    }
    let tenant = &caller.tenant;
    let initial = tenant.domain.split('.').next().unwrap_or(&tenant.domain);
    let domain = |name: &str, initial: bool| {
        json!({
            "capabilities": "Email, OfficeCommunicationsOnline", "isDefault": !initial, "isInitial": initial,
            "name": name, "type": "Managed",
        })
    };
    let body = json!({
        "@odata.context": format!("{}/v1.0/$metadata#organization", world.public_url),
        "value": [{
            "id": tenant.id,
            "displayName": tenant.name,
            "tenantType": "AAD",
            "countryLetterCode": "US",
            "verifiedDomains":
                [domain(&tenant.domain, false), domain(&format!("{initial}.onmicrosoft.example"), true)],
        }],
    });
    Answer::json(StatusCode::OK, &body)
}

pub fn user(world: &World, ids: &Ids, caller: &Caller, id: &str) -> Answer {
    if !caller.has_any(&[USER_READ, DIRECTORY_READ]) {
        return ids.directory_forbidden();
    }
    match caller.tenant.user(id) {
        Some(user) => Answer::json(
            StatusCode::OK,
            &json!({
                "@odata.context": format!("{}/v1.0/$metadata#users/$entity", world.public_url),
                "id": user.id,
                "displayName": user.display_name,
                "userPrincipalName": user.user_principal_name,
                "userType": if user.home_tenant.is_some() { "Guest" } else { "Member" },
            }),
        ),
        None => ids.directory_not_found(id),
    }
}

/// `servicePrincipals/appId=0000000a-…/endpoints`: clients match `providerName` without case.
pub fn intune_endpoints(world: &World, ids: &Ids, caller: &Caller) -> Answer {
    if !caller.has_any(&[APPLICATION_READ, DIRECTORY_READ, SERVICE_PRINCIPAL_ENDPOINT_READ]) {
        return ids.directory_forbidden();
    }
    let service = crate::nac::PATH;
    let body = json!({
        "@odata.context": format!("{}/v1.0/$metadata#servicePrincipals/endpoints", world.public_url),
        "value": [{
            "id": stable_guid(&format!("compliance-retrieval.{}", caller.tenant.domain)),
            "capability": "ComplianceRetrievalService",
            "providerId": "0000000a-0000-0000-c000-000000000000",
            "providerName": "ComplianceRetrievalService",
            "providerResourceId": "https://api.manage.microsoft.com/",
            "uri": format!("{}{service}", world.public_url),
        }],
    });
    Answer::json(StatusCode::OK, &body)
}
