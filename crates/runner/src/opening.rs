//! The first message of a visit: the day, what is on the persona's mind, and the invitation.

use mana_types::{Date, Lang};

use crate::wire::Persona;

/// The first message of a visit, in the persona's language.
pub(crate) fn message(persona: &Persona, lang: Lang, today: Date, goal: Option<&str>) -> String {
    let mut favoured: Vec<(&String, &f64)> = persona.module_mix.iter().filter(|(_, weight)| **weight > 0.0).collect();
    favoured.sort_by(|a, b| b.1.total_cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let favoured: Vec<&str> = favoured.into_iter().map(|(module, _)| module.as_str()).collect();
    let favoured = favoured.join(", ");
    let weekday = weekday(lang, today);
    match lang {
        Lang::De => {
            let goal = goal.map_or_else(
                || "Heute liegt nichts Besonderes an.".into(),
                |goal| format!("Heute geht dir durch den Kopf: {goal}."),
            );
            format!(
                "Heute ist {weekday}, der {today}. {goal}\n\n\
                 Am liebsten benutzt du: {favoured}.\n\n\
                 Verbringe einen kurzen Tag mit deinen Werkzeugen, so wie du es sonst auch tust: etwa drei bis acht \
                 Handgriffe, auch weniger oder gar keiner ist in Ordnung. Wenn dir etwas zu dumm wird, darfst du aufgeben; \
                 sag es dann. Schließe mit ein oder zwei Sätzen."
            )
        }
        Lang::En => {
            let goal =
                goal.map_or_else(|| "Nothing special today.".into(), |goal| format!("On your mind today: {goal}."));
            format!(
                "Today is {weekday}, {today}. {goal}\n\n\
                 You like to use: {favoured}.\n\n\
                 Spend a short day with your tools, the way you usually do: about three to eight steps, fewer or none is \
                 fine. If something is not worth the trouble you may give up; then say so. Close with one or two sentences."
            )
        }
    }
}

fn weekday(lang: Lang, date: Date) -> &'static str {
    const DE: [&str; 7] = ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"];
    const EN: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let day = usize::try_from(date.0.weekday().to_monday_zero_offset()).unwrap_or(0);
    match lang {
        Lang::De => DE[day],
        Lang::En => EN[day],
    }
}
