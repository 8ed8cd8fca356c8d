//! What a fleet is made of: platforms, makers and people. Formats follow values seen in recorded payloads.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    Windows,
    Ios,
    MacOs,
    Android,
    Linux,
}

#[derive(Debug)]
pub struct Hardware {
    pub manufacturer: &'static str,
    pub model: &'static str,
    /// Organizationally unique identifier of the Wi-Fi adapter.
    pub oui: u32,
    /// Length of the serial number and what it starts with.
    pub serial: (&'static str, usize),
}

const fn hardware(
    manufacturer: &'static str,
    model: &'static str,
    oui: u32,
    serial: (&'static str, usize),
) -> Hardware {
    Hardware { manufacturer, model, oui, serial }
}

const WINDOWS: &[Hardware] = &[
    hardware("Dell Inc.", "Latitude 7450", 0xD4_6E_0E, ("", 7)),
    hardware("Dell Inc.", "OptiPlex 7020", 0xA4_BB_6D, ("", 7)),
    hardware("LENOVO", "21HMCTO1WW", 0x5C_80_B6, ("PF", 8)),
    hardware("LENOVO", "20XW004AGE", 0xE0_D4_E8, ("PC", 8)),
    hardware("HP", "HP EliteBook 840 G10", 0x84_A9_38, ("5CG", 10)),
    hardware("Microsoft Corporation", "Surface Laptop 6", 0x28_16_A8, ("0", 12)),
];
const IOS: &[Hardware] = &[
    hardware("Apple", "iPhone 15", 0xF0_18_98, ("", 10)),
    hardware("Apple", "iPhone 14 Pro", 0xBC_D0_74, ("", 10)),
    hardware("Apple", "iPad Pro", 0x3C_06_30, ("DMP", 12)),
];
const MACOS: &[Hardware] = &[
    hardware("Apple", "MacBook Pro", 0x14_7D_DA, ("C02", 12)),
    hardware("Apple", "MacBook Air", 0xA4_83_E7, ("FVF", 12)),
    hardware("Apple", "Mac mini", 0xF8_4D_89, ("H2W", 12)),
];
const ANDROID: &[Hardware] = &[
    hardware("samsung", "SM-S921B", 0x8C_71_F8, ("R5C", 11)),
    hardware("Google", "Pixel 8", 0x60_B7_6E, ("3", 14)),
    hardware("Zebra Technologies", "TC52X", 0x94_FB_29, ("2", 14)),
];
const LINUX: &[Hardware] = &[hardware("LENOVO", "ThinkPad P1 Gen 6", 0x9C_2D_CD, ("PF", 8))];

impl Platform {
    /// The platform for a number below 100.
    #[must_use]
    pub const fn drawn(percent: u64) -> Self {
        match percent {
            0..58 => Self::Windows,
            58..74 => Self::Ios,
            74..86 => Self::MacOs,
            86..98 => Self::Android,
            _ => Self::Linux,
        }
    }

    /// What Intune writes into `operatingSystem`.
    #[must_use]
    pub const fn operating_system(self) -> &'static str {
        match self {
            Self::Windows => "Windows",
            Self::Ios => "iOS",
            Self::MacOs => "macOS",
            Self::Android => "Android",
            Self::Linux => "Linux (ubuntu)",
        }
    }

    #[must_use]
    pub const fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Windows => &["10.0.22631.3737", "10.0.26100.4061", "10.0.19045.4529", "10.0.22621.2428"],
            Self::Ios => &["18.6.2", "17.7.1", "18.5", "16.7.10"],
            Self::MacOs => &["15.6.1 (24G90)", "14.7.1 (23H222)", "13.6.9 (22G830)"],
            Self::Android => &["15", "14", "13.0"],
            Self::Linux => &["22.04", "24.04"],
        }
    }

    #[must_use]
    pub const fn hardware(self) -> &'static [Hardware] {
        match self {
            Self::Windows => WINDOWS,
            Self::Ios => IOS,
            Self::MacOs => MACOS,
            Self::Android => ANDROID,
            Self::Linux => LINUX,
        }
    }
}

pub const FIRST_NAMES: &[&str] = &[
    "Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Fatima", "Gustav", "Hana", "Imani", "Jonas", "Keiko",
    "Luis", "Marta", "Nikhil", "Olga", "Pedro", "Quynh", "Rosa", "Sven", "Tariq", "Ursula", "Vikram",
    "Wanda", "Ximena", "Yusuf", "Zofia", "Amir", "Beatrix", "Cedric", "Dalia", "Emil", "Freya",
];

pub const LAST_NAMES: &[&str] = &[
    "Abbott",
    "Baker",
    "Castillo",
    "Dubois",
    "Eriksen",
    "Fontaine",
    "Gruber",
    "Haddad",
    "Ivanov",
    "Jensen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okafor",
    "Petrov",
    "Quinn",
    "Rossi",
    "Schmidt",
    "Tanaka",
    "Ueda",
    "Vargas",
    "Weber",
    "Xu",
    "Yilmaz",
    "Zimmermann",
    "Almeida",
    "Brandt",
    "Costa",
    "Demir",
    "Engel",
    "Fischer",
    "Garcia",
    "Hansen",
    "Iyer",
    "Jung",
    "Klein",
    "Larsen",
    "Meyer",
    "Novak",
];

/// An address that several laptops report because they share a dock: matching by MAC must not trust it.
pub const SHARED_DOCK_MAC: &str = "00E04C680001";
