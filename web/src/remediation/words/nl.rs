//! Nederlands.

use super::{Span, Step, Why, Words, count};

pub(in crate::remediation) static WORDS: Words = Words {
    title: "Netwerktoegang",
    held: "Dit apparaat heeft beperkte toegang tot het netwerk",
    moving_title: "Gelukt: je apparaat wordt toegelaten",
    moving_text: "Je apparaat is nu in orde en het netwerk zet het om. De verbinding kan even wegvallen. Gebeurt er \
                  binnen een minuut niets, verbreek dan de verbinding met dit netwerk en maak opnieuw verbinding.",
    settled_title: "Dit apparaat wordt niet beperkt",
    settled_text: "Je kunt deze pagina sluiten. Werkt er nog iets niet, verbreek dan de verbinding met dit netwerk en \
                   maak opnieuw verbinding.",
    what_to_do: "Wat je kunt doen",
    about: "Over dit apparaat",
    check_again: "Opnieuw controleren",
    open_portal: "De website van de Bedrijfsportal openen",
    language: "Taal",
    device: "Apparaat",
    address: "Netwerkadres",
    last_check_in: "Laatste contact met Microsoft Intune",
    looked_at: "Laatst bij Microsoft nagevraagd",
    grace_ends: "De termijn loopt af",
    checking: "We vragen het na bij Microsoft. Deze pagina ververst zichzelf.",
    no_change: "Zojuist gecontroleerd: er is nog niets veranderd.",
    late: "Er is nog geen nieuw antwoord van Microsoft. De controle gaat vanzelf door: kom over een paar minuten terug.",
    gone_title: "Dit adres is niet meer geldig",
    gone_text: "Het is misschien te oud of onvolledig. Verbreek de verbinding met dit netwerk en maak opnieuw verbinding; \
                je krijgt dan een nieuw adres. Is je apparaat nog niet bij je organisatie geregistreerd, doe dat dan \
                eerst:",
    busy_title: "Dat lukt nu even niet",
    away_text: "Voor je apparaat is er niets veranderd. Probeer het over een minuut opnieuw.",
    help_from: |org| format!("Hulp van {org}"),
    too_soon: |seconds| format!("Je hebt het net gevraagd. Over {seconds} s kun je het opnieuw vragen."),
    ago: |span| match span {
        Span::Moments => "zojuist".to_owned(),
        Span::Minutes(n) => format!("{} geleden", count(n, "minuut", "minuten")),
        Span::Hours(n) => format!("{} geleden", count(n, "uur", "uur")),
        Span::Days(n) => format!("{} geleden", count(n, "dag", "dagen")),
    },
    ahead: |span| match span {
        Span::Moments => "zo meteen".to_owned(),
        Span::Minutes(n) => format!("over {}", count(n, "minuut", "minuten")),
        Span::Hours(n) => format!("over {}", count(n, "uur", "uur")),
        Span::Days(n) => format!("over {}", count(n, "dag", "dagen")),
    },
    why: |why| match why {
        Why::NonCompliant => (
            "Het voldoet niet aan de beveiligingseisen van je organisatie",
            "Er moet iets aan dit apparaat veranderen, bijvoorbeeld een update, een toegangscode of versleuteling.",
        ),
        Why::InGrace => (
            "Het moet binnenkort in orde worden gemaakt",
            "Dit apparaat voldoet niet aan de beveiligingseisen van je organisatie. Er is nog wat tijd om dat te \
             veranderen.",
        ),
        Why::NotEvaluated => (
            "Het is nog niet gecontroleerd",
            "Dit apparaat is geregistreerd, maar Microsoft Intune heeft het nog niet gecontroleerd. Na de registratie \
             duurt dat een paar minuten.",
        ),
        Why::NotDetermined => (
            "De beveiliging kon niet worden vastgesteld",
            "Microsoft Intune heeft geprobeerd dit apparaat te controleren en kwam niet tot een resultaat.",
        ),
        Why::NotEnrolled => (
            "Het is niet bij je organisatie geregistreerd",
            "Geen enkel apparaat van je organisatie past bij dit apparaat. Alleen geregistreerde apparaten krijgen \
             volledige toegang.",
        ),
        Why::RandomMac => (
            "Het verbergt zijn netwerkadres",
            "Dit apparaat gebruikt op dit netwerk een privéadres (willekeurig adres) en kan daardoor niet worden herkend.",
        ),
        Why::NoCertificate => (
            "Het heeft zijn certificaat niet getoond",
            "Dit apparaat heeft verbinding gemaakt zonder het certificaat waaraan je organisatie het herkent.",
        ),
        Why::CertificateExpired => (
            "Het certificaat is verlopen",
            "Het certificaat waaraan je organisatie dit apparaat herkent, is niet meer geldig.",
        ),
        Why::Ambiguous => (
            "Het is niet van een ander apparaat te onderscheiden",
            "Verschillende geregistreerde apparaten lijken op dit apparaat; daarom wordt hier geen ervan vertrouwd.",
        ),
        Why::Stale => {
            ("Wat ervan bekend is, is te oud", "Er is al lange tijd niets nieuws van dit apparaat bekend.")
        }
        Why::Unlinked => (
            "De netwerkdienst van je organisatie is nog niet klaar",
            "Er is niets mis met je apparaat: je organisatie is nog niet klaar met het koppelen van haar apparaatbeheer.",
        ),
        Why::Rule => (
            "De regels van je organisatie beperken het hier",
            "Je apparaat is in orde. De toegang tot dit netwerk is om een andere reden beperkt; de IT-helpdesk kan je \
             vertellen waarom.",
        ),
    },
    step: |step| match step {
        Step::OpenPortal => {
            "Open de app Bedrijfsportal op dit apparaat, of de website hieronder, en meld je aan met je werkaccount."
        }
        Step::ChooseDevice => "Kies dit apparaat. Daar staat wat er moet veranderen, en hoe.",
        Step::CheckStatus => {
            "Volg de aanwijzingen en kies daarna “Status controleren” (of “Toegang controleren”)."
        }
        Step::CheckAgain => "Kom terug naar deze pagina en druk op “Opnieuw controleren”.",
        Step::KeepOn => "Laat het apparaat aan en verbonden.",
        Step::Enroll => {
            "Installeer de app Bedrijfsportal uit de appstore van je apparaat, meld je aan met je werkaccount en volg de \
             stappen om dit apparaat te registreren."
        }
        Step::FixedAddress => {
            "Open op je apparaat de instellingen van dit netwerk en zet “Privéwifiadres” (of “Willekeurige \
             hardwareadressen”, “Willekeurig MAC-adres”) uit."
        }
        Step::Sync => {
            "Open de app Bedrijfsportal, kies dit apparaat en daarna “Synchroniseren” of “Status controleren”."
        }
        Step::Reconnect => "Verbreek de verbinding met dit netwerk en maak opnieuw verbinding.",
        Step::AskHelp => "Vraag de IT-helpdesk van je organisatie om hulp en laat deze pagina zien.",
    },
};
