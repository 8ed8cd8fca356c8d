//! A decision in RADIUS attributes, as every NAS understands them (RFC 2865, RFC 3580).

use serde::Serialize;

use crate::decision::Outcome;

/// One attribute of an Access-Accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RadiusAttribute {
    pub name: &'static str,
    pub value: String,
}

/// The attributes that carry an outcome. None for a denial: Access-Reject carries no authorization.
#[must_use]
pub fn attributes(outcome: &Outcome) -> Vec<RadiusAttribute> {
    let mut out = Vec::new();
    if !outcome.permit {
        return out;
    }
    let mut add = |name, value: &str| out.push(RadiusAttribute { name, value: value.to_owned() });
    if let Some(vlan) = &outcome.vlan {
        // RFC 3580 3.31: VLAN assignment takes all three.
        add("Tunnel-Type", "VLAN");
        add("Tunnel-Medium-Type", "IEEE-802");
        add("Tunnel-Private-Group-Id", vlan);
    }
    if let Some(role) = &outcome.role {
        add("Filter-Id", role);
    }
    if let Some(seconds) = outcome.session_timeout {
        add("Session-Timeout", &seconds.to_string());
        // RFC 2865 5.29: at the end of the session, ask again instead of cutting the port.
        add("Termination-Action", "RADIUS-Request");
    }
    out
}
