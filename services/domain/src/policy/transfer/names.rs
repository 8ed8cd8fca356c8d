//! Names for ids, and ids for names.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::FileError;

/// What is named in a policy.
pub struct Names<'a> {
    by_id: HashMap<Uuid, &'a str>,
    /// By lower-case name; `None` where two have it.
    by_name: HashMap<String, Option<Uuid>>,
}

impl<'a> Names<'a> {
    pub fn of(named: impl Iterator<Item = (Uuid, &'a str)>) -> Self {
        let (mut by_id, mut by_name) = (HashMap::new(), HashMap::new());
        for (id, name) in named {
            by_id.insert(id, name);
            by_name.entry(name.to_lowercase()).and_modify(|known| *known = None).or_insert(Some(id));
        }
        Self { by_id, by_name }
    }

    /// How a file refers to an id: by name, where that names nothing else.
    pub fn write(&self, id: Uuid) -> String {
        match self.by_id.get(&id) {
            Some(name) if self.unique(name) == Some(id) && Uuid::parse_str(name).is_err() => {
                (*name).to_owned()
            }
            _ => id.to_string(),
        }
    }

    /// What a reference is to.
    pub fn read(&self, what: &str, reference: &str) -> Result<Uuid, String> {
        if let Some(id) = Uuid::parse_str(reference).ok().filter(|id| self.by_id.contains_key(id)) {
            return Ok(id);
        }
        match self.by_name.get(&reference.to_lowercase()) {
            Some(Some(id)) => Ok(*id),
            Some(None) => Err(format!("Several {what}s are named “{reference}”: give its id.")),
            None => {
                let reference_lower = reference.to_lowercase();
                let names = self
                    .by_id
                    .values()
                    .map(|name| (strsim::osa_distance(&reference_lower, &name.to_lowercase()), name));
                let near = names.filter(|(distance, _)| *distance <= (reference.len() / 4).clamp(1, 4)).min();
                Err(match near {
                    Some((_, near)) => format!("There is no {what} “{reference}”: did you mean “{near}”?"),
                    None => {
                        format!("There is no {what} “{reference}” in the file: add it, or take this out.")
                    }
                })
            }
        }
    }

    pub fn unique(&self, name: &str) -> Option<Uuid> {
        self.by_name.get(&name.to_lowercase()).copied().flatten()
    }
}

/// Gives everything in a file its id: its own, that of the same name in the current policy, or one made from its name.
pub fn identify<'a>(
    what: &str,
    named: impl Iterator<Item = (Option<Uuid>, &'a str)> + Clone,
    current: &Names<'_>,
    errors: &mut Vec<FileError>,
) -> Vec<Uuid> {
    let mut taken = HashSet::new();
    for (at, (id, _)) in named.clone().enumerate() {
        if id.is_some_and(|id| !taken.insert(id)) {
            errors.push(FileError::at(
                format!("{what}s[{at}].id"),
                format!("Another {what} has this id: leave it out."),
            ));
        }
    }
    let mut out = Vec::new();
    for (id, name) in named {
        out.push(id.unwrap_or_else(|| {
            let mut attempt = 0;
            let mut id = current.unique(name).unwrap_or_else(|| made(what, name, attempt));
            while !taken.insert(id) {
                attempt += 1;
                id = made(what, name, attempt);
            }
            id
        }));
    }
    out
}

fn made(what: &str, name: &str, attempt: u32) -> Uuid {
    let text = format!("gatehouse-policy/{what}/{}/{attempt}", name.to_lowercase());
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
}
