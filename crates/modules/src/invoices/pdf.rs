//! An invoice as a printable page or several: A4, with the fonts that every reader of PDF brings along.

use mana_registry::Lang;
use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

use super::money::{self, Totals};
use super::{Invoice, Party, Status};

const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const LEFT: f32 = 57.0;
const RIGHT: f32 = WIDTH - 57.0;
const BOTTOM: f32 = 80.0;
const LINE: f32 = 13.0;

/// The most lines of an address that are printed, so that the head leaves room for the rest.
const ADDRESS: usize = 8;

/// The right edges of the columns of numbers.
const QTY: f32 = 345.0;
const PRICE: f32 = 420.0;
const RATE: f32 = 465.0;

/// The words on the page.
struct Words {
    invoice: &'static str,
    draft: &'static str,
    void: &'static str,
    number: &'static str,
    issued: &'static str,
    due: &'static str,
    title: &'static str,
    qty: &'static str,
    price: &'static str,
    vat: &'static str,
    sum: &'static str,
    net: &'static str,
    gross: &'static str,
    paid: &'static str,
    vat_id: &'static str,
    account: &'static str,
    page: &'static str,
}

const ENGLISH: Words = Words {
    invoice: "Invoice",
    draft: "Draft invoice",
    void: "Invoice (void)",
    number: "Number",
    issued: "Date",
    due: "Payable by",
    title: "Description",
    qty: "Quantity",
    price: "Unit price",
    vat: "VAT",
    sum: "Amount",
    net: "Net",
    gross: "Total",
    paid: "Paid on",
    vat_id: "VAT ID",
    account: "Account",
    page: "Page",
};

const GERMAN: Words = Words {
    invoice: "Rechnung",
    draft: "Rechnungsentwurf",
    void: "Rechnung (storniert)",
    number: "Nummer",
    issued: "Datum",
    due: "Zahlbar bis",
    title: "Bezeichnung",
    qty: "Menge",
    price: "Einzelpreis",
    vat: "USt.",
    sum: "Betrag",
    net: "Netto",
    gross: "Gesamtbetrag",
    paid: "Bezahlt am",
    vat_id: "USt-IdNr.",
    account: "Konto",
    page: "Seite",
};

/// The widths of Helvetica from space to tilde, in thousandths of the size (Adobe's font metrics).
const WIDTHS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
];

fn width(text: &str, size: f32) -> f32 {
    let of = |c: char| {
        let place = u32::from(c).checked_sub(32).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| WIDTHS.get(place)).map_or(600.0, |width| f32::from(*width))
    };
    text.chars().map(of).sum::<f32>() * size / 1000.0
}

/// A text in the encoding of the standard fonts (Windows-1252). What it lacks is written with its plain letter.
fn encode(text: &str) -> Vec<u8> {
    let byte = |c: char| match c {
        ' '..='~' | '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(c)).unwrap_or(b'?'),
        '€' => 0x80,
        '‚' => 0x82,
        '„' => 0x84,
        '…' => 0x85,
        'Š' => 0x8a,
        'Œ' => 0x8c,
        'Ž' => 0x8e,
        '‘' => 0x91,
        '’' => 0x92,
        '“' => 0x93,
        '”' => 0x94,
        '•' => 0x95,
        '–' | '‑' => 0x96,
        '—' => 0x97,
        '™' => 0x99,
        'š' => 0x9a,
        'œ' => 0x9c,
        'ž' => 0x9e,
        'Ÿ' => 0x9f,
        'ą' | 'ă' | 'ā' => b'a',
        'Ą' | 'Ă' | 'Ā' => b'A',
        'ć' | 'č' | 'ĉ' => b'c',
        'Ć' | 'Č' | 'Ĉ' => b'C',
        'ď' | 'đ' => b'd',
        'Ď' | 'Đ' => b'D',
        'ę' | 'ě' | 'ē' | 'ė' => b'e',
        'Ę' | 'Ě' | 'Ē' | 'Ė' => b'E',
        'ğ' => b'g',
        'Ğ' => b'G',
        'ı' | 'ī' => b'i',
        'İ' | 'Ī' => b'I',
        'ł' => b'l',
        'Ł' => b'L',
        'ń' | 'ň' => b'n',
        'Ń' | 'Ň' => b'N',
        'ő' | 'ō' => b'o',
        'Ő' | 'Ō' => b'O',
        'ř' => b'r',
        'Ř' => b'R',
        'ś' | 'ş' | 'ș' => b's',
        'Ś' | 'Ş' | 'Ș' => b'S',
        'ť' | 'ţ' | 'ț' => b't',
        'Ť' | 'Ţ' | 'Ț' => b'T',
        'ů' | 'ű' | 'ū' => b'u',
        'Ů' | 'Ű' | 'Ū' => b'U',
        'ź' | 'ż' => b'z',
        'Ź' | 'Ż' => b'Z',
        '\n' | '\t' | '\r' => b' ',
        _ => b'?',
    };
    text.chars().map(byte).collect()
}

/// Lines that fit a width; a word that is wider by itself is cut.
fn wrap(text: &str, size: f32, most: f32) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let joined = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if width(&joined, size) <= most {
                line = joined;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                if width(&line, size) + width(&c.to_string(), size) > most {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        lines.push(line);
    }
    lines
}

/// Pages that are written from top to bottom.
struct Paper {
    pages: Vec<Content>,
    y: f32,
}

impl Paper {
    fn new() -> Self {
        Self { pages: vec![Content::new()], y: HEIGHT - 60.0 }
    }

    fn page(&mut self) -> &mut Content {
        if self.pages.is_empty() {
            self.pages.push(Content::new());
        }
        let last = self.pages.len() - 1;
        &mut self.pages[last]
    }

    /// Begins another page if there is no room for so much.
    fn need(&mut self, height: f32) -> bool {
        let turn = self.y - height < BOTTOM;
        if turn {
            self.pages.push(Content::new());
            self.y = HEIGHT - 60.0;
        }
        turn
    }

    fn text(&mut self, x: f32, y: f32, size: f32, bold: bool, text: &str) {
        let font = if bold { Name(b"B") } else { Name(b"R") };
        let encoded = encode(text);
        self.page().begin_text().set_font(font, size).next_line(x, y).show(Str(&encoded)).end_text();
    }

    fn right(&mut self, x: f32, y: f32, size: f32, bold: bool, text: &str) {
        self.text(x - width(text, size), y, size, bold, text);
    }

    fn rule(&mut self, y: f32) {
        self.page().set_line_width(0.5).set_stroke_gray(0.6).move_to(LEFT, y).line_to(RIGHT, y).stroke();
    }

    /// Paragraphs from the left edge on, over as many pages as they need.
    fn paragraphs(&mut self, text: &str, size: f32) {
        for line in wrap(text, size, RIGHT - LEFT) {
            self.need(LINE);
            let y = self.y;
            self.text(LEFT, y, size, false, &line);
            self.y -= LINE;
        }
    }
}

fn date(day: Option<mana_registry::Date>, lang: Lang) -> String {
    let format = match lang {
        Lang::De => "%d.%m.%Y",
        Lang::En => "%Y-%m-%d",
    };
    day.map(|day| day.0.strftime(format).to_string()).unwrap_or_default()
}

/// An invoice and those between whom it stands.
pub(super) struct Print<'a> {
    pub(super) invoice: &'a Invoice,
    pub(super) sender: &'a Party,
    pub(super) client: &'a Party,
    pub(super) lang: Lang,
}

impl Print<'_> {
    /// The file, and how many pages it has.
    pub(super) fn pdf(&self) -> (Vec<u8>, usize) {
        let words = if self.lang == Lang::De { &GERMAN } else { &ENGLISH };
        let mut paper = Paper::new();
        self.head(&mut paper, words);
        self.table(&mut paper, words);
        self.totals(&mut paper, words);
        if let Some(notes) = &self.invoice.notes {
            paper.y -= LINE;
            paper.paragraphs(notes, 10.0);
        }
        self.foot(&mut paper, words);
        let title = format!("{} {}", words.invoice, self.invoice.number.as_deref().unwrap_or_default());
        let pages = paper.pages.len();
        (file(paper.pages, title.trim(), &self.sender.name), pages)
    }

    fn head(&self, paper: &mut Paper, words: &Words) {
        let heading = match self.invoice.status {
            Status::Draft => words.draft,
            Status::Void => words.void,
            Status::Sent | Status::Overdue | Status::Paid => words.invoice,
        };
        let mut y = paper.y;
        paper.text(LEFT, y, 11.0, true, &self.sender.name);
        for line in wrap(self.sender.address.as_deref().unwrap_or_default(), 9.0, 300.0).iter().take(ADDRESS) {
            y -= 12.0;
            paper.text(LEFT, y, 9.0, false, line);
        }
        y = (y - 40.0).min(HEIGHT - 140.0);
        let top = y;
        paper.text(LEFT, y, 11.0, false, &self.client.name);
        for line in wrap(self.client.address.as_deref().unwrap_or_default(), 11.0, 260.0).iter().take(ADDRESS) {
            y -= 14.0;
            paper.text(LEFT, y, 11.0, false, line);
        }
        if let Some(vat_id) = &self.client.vat_id {
            y -= 14.0;
            paper.text(LEFT, y, 9.0, false, &format!("{}: {vat_id}", words.vat_id));
        }
        let mut facts = top;
        for (label, value) in [
            (words.number, self.invoice.number.as_deref().unwrap_or_default().to_owned()),
            (words.issued, date(self.invoice.issued, self.lang)),
            (words.due, date(self.invoice.due, self.lang)),
            (words.paid, date(self.invoice.paid_on, self.lang)),
        ] {
            if !value.is_empty() {
                paper.text(380.0, facts, 10.0, false, label);
                paper.right(RIGHT, facts, 10.0, false, &value);
                facts -= 14.0;
            }
        }
        paper.y = y.min(facts) - 40.0;
        let y = paper.y;
        paper.text(LEFT, y, 18.0, true, heading);
        paper.y -= 30.0;
    }

    fn columns(paper: &mut Paper, words: &Words) {
        let y = paper.y;
        paper.text(LEFT, y, 9.0, true, words.title);
        for (x, word) in [(QTY, words.qty), (PRICE, words.price), (RATE, words.vat), (RIGHT, words.sum)] {
            paper.right(x, y, 9.0, true, word);
        }
        paper.rule(y - 5.0);
        paper.y -= 20.0;
    }

    fn table(&self, paper: &mut Paper, words: &Words) {
        Self::columns(paper, words);
        let currency = &self.invoice.currency;
        for line in &self.invoice.lines {
            let titles = wrap(&line.title, 10.0, 235.0);
            #[expect(clippy::cast_precision_loss, reason = "a handful of lines")]
            if paper.need(LINE * titles.len() as f32) {
                Self::columns(paper, words);
            }
            let y = paper.y;
            for (x, text) in [
                (QTY, line.qty.text(self.lang)),
                (PRICE, money::amount(line.unit_price.get(), currency, self.lang)),
                (RATE, money::rate(line.vat_rate.get(), self.lang)),
                (RIGHT, money::amount(line.net(), currency, self.lang)),
            ] {
                paper.right(x, y, 10.0, false, &text);
            }
            for title in titles {
                let y = paper.y;
                paper.text(LEFT, y, 10.0, false, &title);
                paper.y -= LINE;
            }
            paper.y -= 4.0;
        }
    }

    fn totals(&self, paper: &mut Paper, words: &Words) {
        let totals = Totals::of(&self.invoice.lines);
        let currency = &self.invoice.currency;
        let mut rows = vec![(words.net.to_owned(), totals.net, false)];
        for rate in &totals.by_rate {
            rows.push((format!("{} {}", words.vat, money::rate(rate.vat_rate, self.lang)), rate.vat, false));
        }
        rows.push((words.gross.to_owned(), totals.gross, true));
        #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
        paper.need(LINE * (rows.len() + 1) as f32);
        paper.rule(paper.y + 6.0);
        paper.y -= 8.0;
        for (label, amount, bold) in rows {
            let y = paper.y;
            paper.text(PRICE - 60.0, y, 10.0, bold, &label);
            let text = format!("{} {currency}", money::amount(amount, currency, self.lang));
            paper.right(RIGHT, y, 10.0, bold, &text);
            paper.y -= LINE;
        }
    }

    /// The sender's particulars at the foot of every page, and which page it is.
    fn foot(&self, paper: &mut Paper, words: &Words) {
        let mut particulars = vec![self.sender.name.to_string()];
        particulars.extend(self.sender.email.as_ref().map(ToString::to_string));
        particulars.extend(self.sender.vat_id.as_ref().map(|id| format!("{}: {id}", words.vat_id)));
        particulars.extend(self.sender.account.as_ref().map(|account| format!("{}: {account}", words.account)));
        let text = particulars.join("  |  ");
        let total = paper.pages.len();
        let lines = wrap(&text, 8.0, RIGHT - LEFT - 60.0);
        for (place, page) in paper.pages.iter_mut().enumerate() {
            let mut y = 50.0;
            let number = format!("{} {}/{total}", words.page, place + 1);
            let mut put = |x: f32, y: f32, text: &str| {
                let encoded = encode(text);
                page.begin_text().set_font(Name(b"R"), 8.0).next_line(x, y).show(Str(&encoded)).end_text();
            };
            put(RIGHT - width(&number, 8.0), y, &number);
            for line in &lines {
                put(LEFT, y, line);
                y -= 10.0;
            }
        }
    }
}

/// The pages as a file.
fn file(pages: Vec<Content>, title: &str, author: &str) -> Vec<u8> {
    let mut next = 0;
    let mut id = || {
        next += 1;
        Ref::new(next)
    };
    let (catalog, tree, regular, bold, info) = (id(), id(), id(), id(), id());
    let pages: Vec<(Ref, Ref, Content)> = pages.into_iter().map(|content| (id(), id(), content)).collect();
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(tree);
    let count = i32::try_from(pages.len()).unwrap_or(i32::MAX);
    pdf.pages(tree).kids(pages.iter().map(|(page, _, _)| *page)).count(count);
    for (page_id, content_id, content) in pages {
        let mut page = pdf.page(page_id);
        page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(tree).contents(content_id);
        page.resources().fonts().pair(Name(b"R"), regular).pair(Name(b"B"), bold);
        page.finish();
        pdf.stream(content_id, &content.finish());
    }
    for (font, name) in [(regular, Name(b"Helvetica")), (bold, Name(b"Helvetica-Bold"))] {
        pdf.type1_font(font).base_font(name).encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    pdf.document_info(info).title(TextStr(title)).author(TextStr(author)).producer(TextStr("Mana"));
    pdf.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_nothing_is_lost() {
        let text = "Firmenporträts, halber Tag, mit Donaudampfschifffahrtsgesellschaftskapitänsmütze und Zubehör";
        let lines = wrap(text, 10.0, 120.0);
        assert!(lines.len() > 2 && lines.iter().all(|line| width(line, 10.0) <= 120.0), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
    }

    #[test]
    fn letters_are_written_in_the_encoding_of_the_fonts() {
        assert_eq!(encode("Äß € „Łódź“"), [0xc4, 0xdf, 0x20, 0x80, 0x20, 0x84, b'L', 0xf3, b'd', b'z', 0x93]);
    }

    #[test]
    fn numbers_end_at_the_same_place() {
        assert!((width("1.234,56", 10.0) - width("9.876,54", 10.0)).abs() < 0.001);
    }
}
