//! An answer as `rlm_rest` takes it.
//!
//! Attributes for the edge's own policy go to the control list, those of the Access-Accept to the reply list. Each
//! one says `do_xlat: false`: FreeRADIUS would otherwise expand its value as a template of its own, and a label could
//! read the edge's secrets. The verdict is explicit, and nothing else of the answer means accept.

use serde_json::{Map, Value, json};

use super::class_of;
use crate::decision::Answer;
use crate::radius::dictionary::Dictionary;
use crate::radius::{RadiusAttribute, attributes_for};

/// The attribute that carries the verdict: `accept` or `reject`.
pub const VERDICT: &str = "control:Gatehouse-Decision";

/// Writes an answer for a NAS of a vendor. `recorded`: whether the decision is kept.
#[must_use]
pub fn write(answer: &Answer, vendor: Option<&str>, session_key: Option<&str>, recorded: bool) -> Value {
    let permit = answer.decision.outcome.permit;
    let mut out = Map::new();
    let mut control = |name: &str, value: &str| {
        out.insert(name.to_owned(), json!({"op": ":=", "do_xlat": false, "value": value}));
    };
    control(VERDICT, if permit { "accept" } else { "reject" });
    control("control:Gatehouse-Reason", answer.decision.reason.as_str());
    control("control:Gatehouse-Decision-Id", &answer.id.to_string());
    control("control:Gatehouse-Recorded", if recorded { "yes" } else { "no" });
    let mut attributes = attributes_for(&answer.decision.outcome, vendor);
    if permit && let Some(key) = session_key {
        attributes.push(RadiusAttribute { name: "Class".into(), value: class_of(key) });
    }
    // By name, each with its values in their order.
    let mut names: Vec<String> = Vec::new();
    let mut values: Vec<Vec<String>> = Vec::new();
    for RadiusAttribute { name, value } in attributes {
        let name = format!("reply:{}", tagged(&name));
        if let Some(at) = names.iter().position(|known| *known == name) {
            values[at].push(value);
        } else {
            names.push(name);
            values.push(vec![value]);
        }
    }
    for (name, mut values) in names.into_iter().zip(values) {
        let (op, value) = match values.len() {
            1 => (":=", Value::from(values.remove(0))),
            _ => ("+=", Value::from(values)),
        };
        out.insert(name, json!({"op": op, "do_xlat": false, "value": value}));
    }
    Value::Object(out)
}

/// Tells the NAS the client's name, where what the client called itself was another and the answer gives none: the NAS
/// uses it in accounting (RFC 2865 5.1), and knows the session by it in a Change of Authorization.
pub fn name_client(answer: &mut Value, name: Option<&str>, claimed: Option<&str>) {
    let Value::Object(out) = answer else { return };
    let Some(name) = name.filter(|name| claimed != Some(name) && name.len() <= 253) else { return };
    if out.get(VERDICT).is_some_and(|verdict| verdict["value"] == "accept") {
        let told = json!({"op": ":=", "do_xlat": false, "value": name});
        out.entry("reply:User-Name").or_insert(told);
    }
}

/// An attribute that may carry a tag and has none gets tag 0, which is none on the wire (RFC 2868 3.1).
fn tagged(name: &str) -> String {
    let takes_tag = Dictionary::get().attribute(name).is_some_and(|attribute| attribute.tagged);
    if takes_tag { format!("{name}:0") } else { name.to_owned() }
}
