//! What the words and numbers of the API may be, for its OpenAPI document.

use domain::coa::{CoaCause, CoaKind};
use domain::command::{ERROR_CAUSES, NasResult};
use domain::compliance::{Literal, Verdict};
use domain::decision::{MatchOutcomeName, Reason};
use domain::request::{AuthType, PortType};
use domain::resolver::{MatchKey, MatchStrength};
use domain::session::AccountingStatus;
use serde_json::{Value, json};
use utoipa::openapi::Array;
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, SchemaType, Type};

fn words(words: impl IntoIterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).enum_values(Some(words)).build()
}

fn words_or_null(words: impl IntoIterator<Item = &'static str>) -> Object {
    let words = words.into_iter().map(Value::from).chain([Value::Null]);
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(types).enum_values(Some(words)).build()
}

pub fn auth_type() -> Object {
    words_or_null(AuthType::ALL.iter().map(|word| word.as_str()))
}

pub fn port_type() -> Object {
    words_or_null(PortType::ALL.iter().map(|word| word.as_str()))
}

pub fn ingress_vlan() -> Object {
    let types = SchemaType::from_iter([Type::String, Type::Integer, Type::Null]);
    ObjectBuilder::new().schema_type(types).examples([json!("guest"), json!(30)]).build()
}

pub fn gbp_tag() -> Object {
    let types = SchemaType::from_iter([Type::Integer, Type::String, Type::Null]);
    ObjectBuilder::new()
        .schema_type(types)
        .minimum(Some(0))
        .maximum(Some(u16::MAX))
        .examples([json!(100)])
        .build()
}

pub fn action() -> Object {
    words(["allow", "deny"])
}

pub fn reason() -> Object {
    words(Reason::ALL.iter().map(|word| word.as_str()))
}

pub fn verdict() -> Object {
    words(Verdict::ALL.iter().map(|word| word.as_str()))
}

pub fn literals() -> Array {
    ArrayBuilder::new().items(words(Literal::ALL.iter().map(|word| word.as_str()))).build()
}

pub fn match_outcome() -> Object {
    words(MatchOutcomeName::ALL.iter().map(|word| word.as_str()))
}

pub fn match_key() -> Object {
    words_or_null(MatchKey::ALL.iter().map(|word| word.as_str()))
}

pub fn match_strength() -> Object {
    words_or_null(MatchStrength::ALL.iter().map(|word| word.as_str()))
}

pub fn accounting_status() -> Object {
    words(AccountingStatus::ALL.iter().map(|word| word.as_str()))
}

pub fn coa_kind() -> Object {
    words(CoaKind::ALL.iter().map(|word| word.as_str()))
}

pub fn coa_cause() -> Object {
    words(CoaCause::ALL.iter().map(|word| word.as_str()))
}

pub fn ack_result() -> Object {
    words(NasResult::ALL.iter().map(|word| word.as_str()))
}

pub fn error_cause() -> Object {
    let known: Vec<String> =
        ERROR_CAUSES.iter().map(|entry| format!("{} {}", entry.number, entry.name)).collect();
    let types = SchemaType::from_iter([Type::Integer, Type::Null]);
    ObjectBuilder::new()
        .schema_type(types)
        .minimum(Some(0))
        .maximum(Some(u32::MAX))
        .examples([json!(503)])
        .description(Some(format!(
            "The NAS's Error-Cause (RFC 5176 3.5), where it gave one: {}. Other numbers are taken as they are.",
            known.join(", ")
        )))
        .build()
}
