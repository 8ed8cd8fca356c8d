//! Every type of result labels, in one table, and `LABELS.md`, which is made from it and from the keys' table.

use std::fmt::Write as _;

use super::keys::KEYS;

/// One type of result.
#[derive(Debug)]
struct ResultSpec {
    type_name: &'static str,
    gives: &'static str,
    values: &'static str,
    examples: &'static [&'static str],
}

const RESULTS: [ResultSpec; 9] = [
    ResultSpec {
        type_name: "vlan",
        gives: "The client's VLAN (Tunnel-Private-Group-Id and its two companions).",
        values: "An id from 1 to 4094, or a name that the network knows.",
        examples: &["30", "quarantine"],
    },
    ResultSpec {
        type_name: "radius_group",
        gives: "A role or filter, in the attribute of the NAS's vendor.",
        values: "1 to 253 bytes, without `%`.",
        examples: &["staff"],
    },
    ResultSpec {
        type_name: "session_timeout",
        gives: "When the client must authenticate again.",
        values: "Seconds, from 60 to 2592000.",
        examples: &["28800"],
    },
    ResultSpec {
        type_name: "egress_vlan_names",
        gives: "The VLANs of a trunk port.",
        values: "`1name` tagged, `2name` untagged.",
        examples: &["1voice", "2data"],
    },
    ResultSpec {
        type_name: "gbp_tag",
        gives: "The tag of a group-based policy.",
        values: "1 to 65535.",
        examples: &["100"],
    },
    ResultSpec {
        type_name: "username_attr",
        gives: "Which name of its certificate the client gets back as User-Name.",
        values: "automatic, cn, dns, email, upn.",
        examples: &["upn"],
    },
    ResultSpec {
        type_name: "radius_attrs",
        gives: "Standard attributes.",
        values: "`Name=Value`, checked against the dictionary.",
        examples: &["Idle-Timeout=600"],
    },
    ResultSpec {
        type_name: "radius_vendor_attrs",
        gives: "Vendors' attributes.",
        values: "`Name=Value`, checked against the vendor's dictionary.",
        examples: &["Aruba-User-Role=guest"],
    },
    ResultSpec {
        type_name: "redirect_url",
        gives: "A page that the client is led to, in the attribute of the NAS's vendor. `gatehouse` is Gatehouse's own \
                remediation page: each client gets an address of its own, which is made when the answer leaves and is \
                no part of the decision, so that a new address moves nobody. It is left out where the deployment has \
                no remediation key, and where an edge decides from its bundle while Gatehouse is away. Apply it beside \
                a quarantine VLAN, role or access list through which the page and Microsoft's portal can be reached.",
        values: "`gatehouse`, or an address of up to 230 ASCII bytes without `%`.",
        examples: &["gatehouse", "https://portal.example.com/fix"],
    },
];

/// `LABELS.md`: both tables for people.
#[must_use]
pub fn documentation() -> String {
    let mut out = String::from(
        "# Match labels\n\n\
         A label names a key and its values. Values are OR-ed; with `match_all` they are AND-ed. A leading `!` \
         negates a value. What is absent equals nothing: a plain value does not hold, a negated one does. Where a \
         client has several values at once, a plain value holds if any of them is it, a negated one if none is. \
         Spaces around a value, and behind its `!`, do not count. Keys of device posture see the matched device as \
         last fetched, and nothing where none matched.\n\n\
         This page is generated from `src/policy/keys.rs` and `results.rs`; a test compares them.\n\n\
         | key | sees | values | examples |\n|---|---|---|---|\n",
    );
    for spec in &KEYS {
        let examples: Vec<_> = spec.examples.iter().map(|example| format!("`{example}`")).collect();
        let _ = writeln!(
            out,
            "| `{}` ({}) | {} | {} | {} |",
            spec.key,
            spec.title,
            spec.help,
            spec.syntax(),
            examples.join(" ")
        );
    }
    out.push_str(
        "\n# Result labels\n\n\
         What an `allow` rule gives. A `block` rule gives nothing: RADIUS says Access-Reject, which carries no VLAN and \
         leads nobody anywhere.\n\n\
         | type | gives | values | examples |\n|---|---|---|---|\n",
    );
    for spec in &RESULTS {
        let examples: Vec<_> = spec.examples.iter().map(|example| format!("`{example}`")).collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            spec.type_name,
            spec.gives,
            spec.values,
            examples.join(" ")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::model::LabelKind;

    #[test]
    fn every_type_has_a_row() {
        let types: Vec<_> = RESULTS.iter().map(|spec| spec.type_name).collect();
        assert_eq!(types, LabelKind::TYPES[1..]);
    }

    #[test]
    fn the_page_is_the_tables() {
        crate::assert_page("LABELS.md", &documentation());
    }
}
