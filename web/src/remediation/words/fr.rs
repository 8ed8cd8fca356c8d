//! Français.

use super::{Span, Step, Why, Words, count};

pub(in crate::remediation) static WORDS: Words = Words {
    title: "Accès au réseau",
    held: "L’accès de cet appareil au réseau est limité",
    moving_title: "C’est fait : votre appareil va être admis",
    moving_text: "Votre appareil est maintenant en règle, et le réseau est en train de le déplacer. La connexion peut se \
                  couper un instant. S’il ne se passe rien d’ici une minute, déconnectez-vous de ce réseau et \
                  reconnectez-vous.",
    settled_title: "L’accès de cet appareil n’est pas limité",
    settled_text: "Vous pouvez fermer cette page. Si quelque chose ne fonctionne toujours pas, déconnectez-vous de ce \
                   réseau et reconnectez-vous.",
    what_to_do: "Que faire",
    about: "À propos de cet appareil",
    check_again: "Vérifier à nouveau",
    open_portal: "Ouvrir le site du Portail d’entreprise",
    language: "Langue",
    device: "Appareil",
    address: "Adresse réseau",
    last_check_in: "Dernier contact avec Microsoft Intune",
    looked_at: "Dernière demande à Microsoft",
    grace_ends: "Fin du délai",
    checking: "Vérification auprès de Microsoft en cours. Cette page se met à jour d’elle-même.",
    no_change: "Vérifié à l’instant : rien n’a encore changé.",
    late: "Microsoft n’a pas encore donné de nouvelle réponse. La vérification se poursuit d’elle-même : revenez dans \
           quelques minutes.",
    gone_title: "Cette adresse n’est plus valable",
    gone_text: "Elle est peut-être trop ancienne ou incomplète. Déconnectez-vous de ce réseau et reconnectez-vous : vous \
                en recevrez une nouvelle. Si votre appareil n’est pas encore inscrit auprès de votre organisation, \
                commencez par là :",
    busy_title: "Ce n’est pas possible pour le moment",
    away_text: "Rien n’a changé pour votre appareil. Réessayez dans une minute.",
    help_from: |org| format!("Aide de {org}"),
    too_soon: |seconds| format!("Vous venez de le demander. Vous pourrez redemander dans {seconds} s."),
    ago: |span| match span {
        Span::Moments => "à l’instant".to_owned(),
        Span::Minutes(n) => format!("il y a {}", count(n, "minute", "minutes")),
        Span::Hours(n) => format!("il y a {}", count(n, "heure", "heures")),
        Span::Days(n) => format!("il y a {}", count(n, "jour", "jours")),
    },
    ahead: |span| match span {
        Span::Moments => "dans un instant".to_owned(),
        Span::Minutes(n) => format!("dans {}", count(n, "minute", "minutes")),
        Span::Hours(n) => format!("dans {}", count(n, "heure", "heures")),
        Span::Days(n) => format!("dans {}", count(n, "jour", "jours")),
    },
    why: |why| match why {
        Why::NonCompliant => (
            "Il ne respecte pas les exigences de sécurité de votre organisation",
            "Il faut changer quelque chose sur cet appareil, par exemple une mise à jour, un code de verrouillage ou le \
             chiffrement.",
        ),
        Why::InGrace => (
            "Il doit bientôt être mis en règle",
            "Cet appareil ne respecte pas les exigences de sécurité de votre organisation. Il vous reste un peu de temps \
             pour y remédier.",
        ),
        Why::NotEvaluated => (
            "Il n’a pas encore été vérifié",
            "Cet appareil est inscrit, mais Microsoft Intune ne l’a pas encore vérifié. Après l’inscription, cela prend \
             quelques minutes.",
        ),
        Why::NotDetermined => (
            "Sa sécurité n’a pas pu être déterminée",
            "Microsoft Intune a essayé de vérifier cet appareil, sans résultat.",
        ),
        Why::NotEnrolled => (
            "Il n’est pas inscrit auprès de votre organisation",
            "Aucun appareil de votre organisation ne correspond à celui-ci. Seuls les appareils inscrits ont un accès \
             complet.",
        ),
        Why::RandomMac => (
            "Il cache son adresse réseau",
            "Cet appareil utilise une adresse privée (aléatoire) sur ce réseau ; il ne peut donc pas être reconnu.",
        ),
        Why::NoCertificate => (
            "Il n’a pas présenté son certificat",
            "Cet appareil s’est connecté sans le certificat auquel votre organisation le reconnaît.",
        ),
        Why::CertificateExpired => (
            "Son certificat a expiré",
            "Le certificat auquel votre organisation reconnaît cet appareil n’est plus valable.",
        ),
        Why::Ambiguous => (
            "Il ne se distingue pas d’un autre appareil",
            "Plusieurs appareils inscrits ressemblent à celui-ci ; aucun d’eux n’est donc reconnu ici.",
        ),
        Why::Stale => (
            "Ce que l’on sait de lui est trop ancien",
            "Il n’y a pas eu de nouvelles de cet appareil depuis longtemps.",
        ),
        Why::Unlinked => (
            "Le service réseau de votre organisation n’est pas prêt",
            "Votre appareil n’est pas en cause : votre organisation n’a pas fini de relier sa gestion des appareils.",
        ),
        Why::Rule => (
            "Les règles de votre organisation le limitent ici",
            "Votre appareil est en règle. Son accès à ce réseau est limité pour une autre raison, que l’assistance \
             informatique peut vous indiquer.",
        ),
    },
    step: |step| match step {
        Step::OpenPortal => {
            "Ouvrez l’application Portail d’entreprise sur cet appareil, ou le site ci-dessous, et connectez-vous avec \
             votre compte professionnel."
        }
        Step::ChooseDevice => {
            "Choisissez cet appareil. Ce qu’il faut changer y est indiqué, avec des instructions."
        }
        Step::CheckStatus => {
            "Suivez les instructions, puis choisissez « Vérifier l’état » (ou « Vérifier l’accès »)."
        }
        Step::CheckAgain => "Revenez sur cette page et appuyez sur « Vérifier à nouveau ».",
        Step::KeepOn => "Laissez l’appareil allumé et connecté.",
        Step::Enroll => {
            "Installez l’application Portail d’entreprise depuis le magasin d’applications de votre appareil, \
             connectez-vous avec votre compte professionnel et suivez les étapes pour inscrire cet appareil."
        }
        Step::FixedAddress => {
            "Ouvrez les réglages de ce réseau sur votre appareil, et désactivez « Adresse Wi-Fi privée » (ou « Adresses \
             matérielles aléatoires », « MAC aléatoire »)."
        }
        Step::Sync => {
            "Ouvrez l’application Portail d’entreprise, choisissez cet appareil, puis « Synchroniser » ou « Vérifier \
             l’état »."
        }
        Step::Reconnect => "Déconnectez-vous de ce réseau et reconnectez-vous.",
        Step::AskHelp => {
            "Adressez-vous à l’assistance informatique de votre organisation, et montrez cette page."
        }
    },
};
