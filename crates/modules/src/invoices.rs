//! Invoices: clients, lines, exact totals, numbers without gaps, from draft to paid, and as PDF.
//!
//! A draft has no number: it gets the next one of its year (`2026-0001`) in the moment it is sent, in the same
//! transaction. So numbers have no gaps and rise with the dates, and a draft can be thrown away. What was sent stays as
//! it was, with the addresses of that day; it can only be paid or made void, and keeps its number.

mod clients;
mod money;
mod pdf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mana_registry::prelude::*;

use self::clients::{Client, Party};
use self::money::{InvoiceLine, Totals};

/// An invoice.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Invoice {
    /// Its number, once it was sent.
    number: Option<Line<40>>,
    /// The client, by id.
    client_id: RecordId,
    /// What is charged.
    lines: Vec<InvoiceLine>,
    /// The currency of all amounts.
    currency: Currency,
    /// When it was sent.
    issued: Option<Date>,
    /// Until when it is to be paid.
    due: Option<Date>,
    /// Where it stands. Overdue is a sent one whose day has passed.
    status: Status,
    /// When it was paid.
    paid_on: Option<Date>,
    /// A text below the lines.
    notes: Option<Text<0, 5000>>,
    /// The client as printed.
    client: Option<Party>,
    /// The sender as printed, once it was sent.
    sender: Option<Party>,
}

impl Record for Invoice {
    const KIND: &'static str = "invoices.invoice";

    fn at(&self) -> Option<Timestamp> {
        self.due.map(Date::start_utc)
    }

    fn words(&self) -> String {
        let client = self.client.as_ref().map(|client| client.name.as_str()).unwrap_or_default();
        let titles: Vec<&str> = self.lines.iter().map(|line| line.title.as_str()).collect();
        let number = self.number.as_deref().unwrap_or_default();
        format!("{number} {client} {} {}", titles.join(" "), self.notes.as_deref().unwrap_or_default())
    }
}

/// Where an invoice stands. `Overdue` is computed and never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    Draft,
    Sent,
    Overdue,
    Paid,
    Void,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Sent => "sent",
            Self::Overdue => "overdue",
            Self::Paid => "paid",
            Self::Void => "void",
        }
    }
}

/// An invoice with what it comes to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct View {
    #[serde(flatten)]
    invoice: Stored<Invoice>,
    /// What the lines come to.
    totals: Totals,
}

/// As it is seen today.
fn view(cx: &Cx, mut invoice: Stored<Invoice>) -> View {
    let is_late = invoice.data.due.is_some_and(|due| due < cx.today());
    if invoice.data.status == Status::Sent && is_late {
        invoice.data.status = Status::Overdue;
    }
    let totals = Totals::of(&invoice.data.lines);
    View { invoice, totals }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("invoices", "Write invoices and see who has paid.")
        .labels("Invoices", "Rechnungen")
        .tool(write("invoices_create", "Create a draft invoice for a client. Totals are computed; the number comes when it is sent.", create))
        .tool(read("invoices_list", "List invoices with totals, the latest change first. Narrow by status, client or words.", list))
        .tool(read("invoices_get", "Read one invoice with totals, client and sender.", get))
        .tool(write("invoices_update", "Change a draft invoice. Fields left out stay; name fields in `clear` to empty them.", update))
        .tool(write("invoices_send", "Send a draft invoice: it gets its number, today's date and a due day, and cannot be changed any more. Twice changes nothing.", send).idempotent())
        .tool(write("invoices_mark_paid", "Mark a sent invoice as paid. Twice changes nothing.", mark_paid).idempotent())
        .tool(write("invoices_void", "Make a sent invoice void; it keeps its number. Twice changes nothing.", void).idempotent())
        .tool(write("invoices_archive", "Put a draft invoice out of sight; it can be restored.", archive).idempotent())
        .tool(write("invoices_restore", "Bring an archived draft back.", restore).idempotent())
        .tool(read("invoices_stats", "Invoice statistics of a year by currency: invoiced, tax, paid; and what is open and overdue by now.", stats))
        .tool(read("invoices_pdf", "An invoice as PDF (base64), in the language of the user.", pdf))
        .tool(write("invoices_client_create", "Create a client who gets invoices.", clients::create))
        .tool(read("invoices_client_list", "List or search clients, the latest change first.", clients::list))
        .tool(write("invoices_client_update", "Change a client. Invoices already sent keep the old address.", clients::update))
        .tool(write("invoices_client_archive", "Put a client out of sight, or bring one back; the invoices stay.", clients::archive).idempotent())
        .tool(write("invoices_sender_set", "Set your own name, address and account as printed on invoices, all fields at once.", clients::sender_set).idempotent())
}

/// What a new invoice is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewInvoice {
    /// The client, by id.
    client_id: RecordId,
    /// What is charged.
    #[schemars(length(min = 1, max = 100))]
    lines: Vec<InvoiceLine>,
    /// The currency of all amounts (ISO 4217); `EUR` if left out.
    currency: Option<Currency>,
    /// Until when it is to be paid; the client's days to pay after sending if left out.
    due: Option<Date>,
    /// A text below the lines.
    notes: Option<Text<0, 5000>>,
}

/// The greatest total that every reader of JSON keeps exactly.
const MOST: i64 = 9_000_000_000_000_000;

fn check_total(lines: &[InvoiceLine]) -> Result<()> {
    if Totals::of(lines).gross.abs() > MOST {
        return Err(ToolError::field("lines", format!("expected a total of at most {MOST} minor units")));
    }
    Ok(())
}

async fn create(cx: Cx, new: NewInvoice) -> Result<View> {
    let client = cx.records::<Client>().check("clientId", new.client_id).await?;
    check_total(&new.lines)?;
    let currency = match new.currency {
        Some(currency) => currency,
        None => Currency::parse("EUR").map_err(|why| ToolError::field("currency", why))?,
    };
    let invoice = Invoice {
        number: None,
        client_id: new.client_id,
        lines: new.lines,
        currency,
        issued: None,
        due: new.due,
        status: Status::Draft,
        paid_on: None,
        notes: new.notes,
        client: Some(client.data.party()),
        sender: None,
    };
    Ok(view(&cx, cx.records().add(invoice).await?))
}

/// Which invoices to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// Only invoices that stand there.
    status: Option<Status>,
    /// Only invoices of this client, by id.
    client_id: Option<RecordId>,
    /// Words that occur together in number, client's name, lines or notes, whatever their case.
    query: Option<Line<200>>,
    /// List the archived drafts instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<View>> {
    let mut filter = Filter::new(Order::Recent).archived(which.archived);
    let today = cx.today().start_utc();
    filter = match which.status {
        None => filter,
        Some(Status::Overdue) => filter.is("status", Status::Sent.word()).until(today),
        Some(Status::Sent) => filter.is("status", Status::Sent.word()).from(today),
        Some(other) => filter.is("status", other.word()),
    };
    if let Some(client) = which.client_id {
        filter = filter.is("clientId", client.to_string());
    }
    if let Some(query) = &which.query {
        filter = filter.words(query);
    }
    let page = cx.records().list(which.paging.of(filter)?).await?;
    Ok(page.map(|invoice| view(&cx, invoice)))
}

/// One invoice.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The invoice's id.
    invoice_id: RecordId,
}

/// Puts in who it is between: as it was when it was sent, as it is now for a draft.
async fn with_parties(cx: &Cx, invoice: &mut Invoice) -> Result<(Party, Party)> {
    let is_sent = invoice.status != Status::Draft;
    let client = match invoice.client.take().filter(|_| is_sent) {
        Some(client) => client,
        None => cx.records::<Client>().get(invoice.client_id).await?.data.party(),
    };
    let sender = match invoice.sender.take().filter(|_| is_sent) {
        Some(sender) => sender,
        None => clients::sender(cx).await?,
    };
    invoice.client = Some(client.clone());
    invoice.sender = Some(sender.clone());
    Ok((client, sender))
}

async fn get(cx: Cx, one: One) -> Result<View> {
    let mut invoice = cx.records::<Invoice>().get(one.invoice_id).await?;
    with_parties(&cx, &mut invoice.data).await?;
    Ok(view(&cx, invoice))
}

/// New values for fields of a draft.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The invoice's id.
    invoice_id: RecordId,
    /// Only if the invoice is at this revision.
    expected_rev: Option<i64>,
    /// The client, by id.
    client_id: Option<RecordId>,
    /// All lines, in their order; replaces those there are.
    #[schemars(length(min = 1, max = 100))]
    lines: Option<Vec<InvoiceLine>>,
    /// The currency of all amounts.
    currency: Option<Currency>,
    /// Until when it is to be paid.
    due: Option<Date>,
    /// A text below the lines.
    notes: Option<Text<0, 5000>>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Due,
    Notes,
}

fn must_be_draft(invoice: &Invoice) -> Result<()> {
    if invoice.status == Status::Draft {
        return Ok(());
    }
    let number = invoice.number.as_deref().unwrap_or_default();
    Err(ToolError::rule("already-sent", format!("invoice `{number}` was sent and stays as it is"))
        .hint("make it void with `invoices_void` and write another one"))
}

async fn update(cx: Cx, change: Change) -> Result<View> {
    let client = match change.client_id {
        Some(id) => Some(cx.records::<Client>().check("clientId", id).await?.data.party()),
        None => None,
    };
    let changed = cx
        .records::<Invoice>()
        .update(change.invoice_id, change.expected_rev, |invoice| {
            must_be_draft(invoice)?;
            for field in &change.clear {
                match field {
                    Clearable::Due => invoice.due = None,
                    Clearable::Notes => invoice.notes = None,
                }
            }
            invoice.client_id = change.client_id.unwrap_or(invoice.client_id);
            invoice.client = client.clone().or_else(|| invoice.client.take());
            invoice.lines = change.lines.clone().unwrap_or_else(|| std::mem::take(&mut invoice.lines));
            invoice.currency = change.currency.clone().unwrap_or_else(|| invoice.currency.clone());
            invoice.due = change.due.or(invoice.due);
            invoice.notes = change.notes.clone().or_else(|| invoice.notes.take());
            check_total(&invoice.lines)
        })
        .await?;
    Ok(view(&cx, changed))
}

/// How long a client has to pay, if nothing is said.
const PAYMENT_DAYS: i64 = 14;

async fn send(cx: Cx, one: One) -> Result<View> {
    let records = cx.records::<Invoice>();
    let before = records.get(one.invoice_id).await?;
    match before.data.status {
        Status::Draft if before.archived_at.is_some() => {
            return Err(
                ToolError::rule("archived", "this draft is archived").hint("bring it back with `invoices_restore`")
            );
        }
        Status::Draft => {}
        Status::Void => return Err(ToolError::rule("void", "this invoice is void").hint("write another one")),
        Status::Sent | Status::Overdue | Status::Paid => return Ok(view(&cx, before)),
    }
    let client = cx.records::<Client>().get(before.data.client_id).await?.data;
    let today = cx.today();
    let days = client.payment_days.map_or(PAYMENT_DAYS, Whole::get);
    let due = before.data.due.unwrap_or_else(|| today.plus_days(days));
    if due < today {
        return Err(ToolError::rule("due-passed", format!("the due day `{due}` has passed"))
            .hint("give it another `due` with `invoices_update`"));
    }
    let sender = clients::sender(&cx).await?;
    let year = today.0.year();
    let count = cx.next_number(&format!("invoices.{year}")).await?;
    let number = Line::parse(&format!("{year}-{count:04}")).map_err(|why| ToolError::field("number", why))?;
    // Only at the revision that was read: of two that send at once, one fails, and its number is taken back.
    let sent = records
        .update(one.invoice_id, Some(before.rev), |invoice| {
            invoice.number = Some(number.clone());
            invoice.issued = Some(today);
            invoice.due = Some(due);
            invoice.status = Status::Sent;
            invoice.client = Some(client.party());
            invoice.sender = Some(sender.clone());
            Ok(())
        })
        .await?;
    Ok(view(&cx, sent))
}

/// A payment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Paid {
    /// The invoice's id.
    invoice_id: RecordId,
    /// The day of the payment; today if left out.
    paid_on: Option<Date>,
}

async fn mark_paid(cx: Cx, paid: Paid) -> Result<View> {
    let records = cx.records::<Invoice>();
    let before = records.get(paid.invoice_id).await?;
    match before.data.status {
        Status::Sent | Status::Overdue => {}
        Status::Paid => return Ok(view(&cx, before)),
        Status::Draft => {
            return Err(
                ToolError::rule("not-sent", "this invoice is a draft").hint("send it first with `invoices_send`")
            );
        }
        Status::Void => return Err(ToolError::rule("void", "this invoice is void").hint("write another one")),
    }
    let today = cx.today();
    let paid_on = paid.paid_on.unwrap_or(today);
    let issued = before.data.issued.unwrap_or(paid_on);
    if paid_on < issued || paid_on > today {
        return Err(ToolError::field("paidOn", format!("expected a day from `{issued}` to `{today}`")));
    }
    let settled = records
        .update(paid.invoice_id, Some(before.rev), |invoice| {
            invoice.status = Status::Paid;
            invoice.paid_on = Some(paid_on);
            Ok(())
        })
        .await?;
    Ok(view(&cx, settled))
}

async fn void(cx: Cx, one: One) -> Result<View> {
    let records = cx.records::<Invoice>();
    let before = records.get(one.invoice_id).await?;
    match before.data.status {
        Status::Sent | Status::Overdue => {}
        Status::Void => return Ok(view(&cx, before)),
        Status::Draft => {
            return Err(
                ToolError::rule("not-sent", "this invoice is a draft").hint("archive it with `invoices_archive`")
            );
        }
        Status::Paid => {
            return Err(
                ToolError::rule("already-paid", "this invoice is paid").hint("write another one with negative amounts")
            );
        }
    }
    let voided = records
        .update(one.invoice_id, Some(before.rev), |invoice| {
            invoice.status = Status::Void;
            Ok(())
        })
        .await?;
    Ok(view(&cx, voided))
}

async fn archive(cx: Cx, one: One) -> Result<View> {
    let records = cx.records::<Invoice>();
    must_be_draft(&records.get(one.invoice_id).await?.data)?;
    Ok(view(&cx, records.archive(one.invoice_id).await?))
}

async fn restore(cx: Cx, one: One) -> Result<View> {
    Ok(view(&cx, cx.records().restore(one.invoice_id).await?))
}

/// Of which year.
#[derive(Debug, Deserialize, JsonSchema)]
struct OfYear {
    /// The year of the dates of invoice; this year if left out.
    year: Option<Whole<1900, 2199>>,
}

/// Sums in one currency, in minor units.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Sums {
    /// The currency.
    currency: Currency,
    /// How many invoices of the year there are, void ones left out.
    invoices: usize,
    /// Their total without tax.
    net: i64,
    /// Their tax.
    vat: i64,
    /// Their total with tax.
    gross: i64,
    /// What of it is paid.
    paid: i64,
    /// What is to be paid by now, of any year, overdue included.
    open: i64,
    /// What is overdue, of any year.
    overdue: i64,
}

/// Statistics of a year.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Stats {
    /// The year.
    year: i64,
    /// How many drafts there are.
    drafts: i64,
    /// How many invoices of the year are void.
    void: usize,
    /// By currency.
    by_currency: Vec<Sums>,
}

fn sums<'a>(all: &'a mut Vec<Sums>, currency: &Currency) -> &'a mut Sums {
    let place = all.iter().position(|sums| sums.currency == *currency).unwrap_or_else(|| {
        let currency = currency.clone();
        all.push(Sums { currency, invoices: 0, net: 0, vat: 0, gross: 0, paid: 0, open: 0, overdue: 0 });
        all.len() - 1
    });
    &mut all[place]
}

async fn stats(cx: Cx, of: OfYear) -> Result<Stats> {
    let records = cx.records::<Invoice>();
    let year = of.year.map_or(i64::from(cx.today().0.year()), Whole::get);
    let in_year = Filter::new(Order::Recent)
        .since("issued", format!("{year}-01-01"))
        .before("issued", format!("{}-01-01", year + 1));
    let mut by_currency: Vec<Sums> = Vec::new();
    let mut void = 0;
    for invoice in records.all(in_year).await? {
        if invoice.data.status == Status::Void {
            void += 1;
            continue;
        }
        let totals = Totals::of(&invoice.data.lines);
        let sums = sums(&mut by_currency, &invoice.data.currency);
        sums.invoices += 1;
        sums.net += totals.net;
        sums.vat += totals.vat;
        sums.gross += totals.gross;
        if invoice.data.status == Status::Paid {
            sums.paid += totals.gross;
        }
    }
    for invoice in records.all(Filter::new(Order::Recent).is("status", Status::Sent.word())).await? {
        let gross = Totals::of(&invoice.data.lines).gross;
        let sums = sums(&mut by_currency, &invoice.data.currency);
        sums.open += gross;
        if invoice.data.due.is_some_and(|due| due < cx.today()) {
            sums.overdue += gross;
        }
    }
    by_currency.sort_by(|a, b| a.currency.cmp(&b.currency));
    let drafts = records.count(Filter::new(Order::Recent).is("status", Status::Draft.word())).await?;
    Ok(Stats { year, drafts, void, by_currency })
}

/// A printable invoice.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Printed {
    /// A name for the file.
    file_name: String,
    /// Always `application/pdf`.
    mime_type: String,
    /// How many pages it has.
    pages: usize,
    /// The file, in base64.
    base64: String,
}

async fn pdf(cx: Cx, one: One) -> Result<Printed> {
    let mut invoice = cx.records::<Invoice>().get(one.invoice_id).await?.data;
    let (client, sender) = with_parties(&cx, &mut invoice).await?;
    let print = pdf::Print { invoice: &invoice, sender: &sender, client: &client, lang: cx.lang() };
    let (bytes, pages) = print.pdf();
    let name = invoice.number.as_deref().map_or_else(|| format!("draft-{}", one.invoice_id), str::to_owned);
    Ok(Printed {
        file_name: format!("{name}.pdf"),
        mime_type: "application/pdf".into(),
        pages,
        base64: BASE64_STANDARD.encode(bytes),
    })
}
