//! Microsoft's clouds, as people know them.

use linking::Cloud;

use crate::app::App;

/// A cloud to choose.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    /// As forms send it.
    pub value: &'static str,
    pub label: &'static str,
}

/// What a cloud is called.
pub(crate) const fn label(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Global => "Microsoft (worldwide and GCC)",
        Cloud::GccHigh => "US Government GCC High",
        Cloud::Dod => "US Government DoD",
        Cloud::China => "China (21Vianet)",
        Cloud::Custom => "Microsoft",
    }
}

/// The same for a stored name, which may be of a later version.
pub(crate) fn label_of(name: &str) -> &str {
    match name.parse::<Cloud>() {
        Ok(cloud) => label(cloud),
        Err(_) => name,
    }
}

/// The clouds that this Gatehouse is set up for, the usual one first.
pub(crate) fn choices(app: &App) -> Vec<Choice> {
    let clouds = app.linking.clouds();
    clouds.into_iter().map(|cloud| Choice { value: cloud.as_str(), label: label(cloud) }).collect()
}

/// The cloud that a form names. Empty: `otherwise`. `None`: this Gatehouse is not set up for it.
pub(crate) fn chosen(app: &App, name: &str, otherwise: Option<Cloud>) -> Option<Cloud> {
    let clouds = app.linking.clouds();
    match name.trim() {
        "" => otherwise.or_else(|| clouds.first().copied()),
        name => name.parse().ok().filter(|cloud| clouds.contains(cloud)),
    }
}
