//! Those who pay, and the one who asks for it.

use mana_registry::prelude::*;

/// Somebody who gets invoices.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Client {
    /// Name of the person or company.
    pub(super) name: Line<200>,
    /// E-mail address.
    pub(super) email: Option<Email>,
    /// Postal address, over several lines.
    pub(super) address: Option<Text<0, 500>>,
    /// Number for value added tax.
    pub(super) vat_id: Option<Line<40>>,
    /// How many days the client has to pay; 14 if left out.
    pub(super) payment_days: Option<Whole<0, 365>>,
    /// Anything else.
    pub(super) notes: Option<Text<0, 5000>>,
}

impl Record for Client {
    const KIND: &'static str = "invoices.client";

    fn words(&self) -> String {
        let email = self.email.as_deref().unwrap_or_default();
        format!("{} {email} {}", self.name, self.address.as_deref().unwrap_or_default())
    }
}

/// The one who sends invoices: one record for a space.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sender {
    #[serde(flatten)]
    pub(super) party: Party,
}

impl Record for Sender {
    const KIND: &'static str = "invoices.sender";
}

/// One side of an invoice, as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Party {
    /// Name of the person or company.
    pub(super) name: Line<200>,
    /// Postal address, over several lines.
    pub(super) address: Option<Text<0, 500>>,
    /// E-mail address.
    pub(super) email: Option<Email>,
    /// Number for value added tax, or tax number.
    pub(super) vat_id: Option<Line<40>>,
    /// Bank account to pay to, such as an IBAN; of the sender only.
    pub(super) account: Option<Line<120>>,
}

impl Client {
    pub(super) fn party(&self) -> Party {
        Party {
            name: self.name.clone(),
            address: self.address.clone(),
            email: self.email.clone(),
            vat_id: self.vat_id.clone(),
            account: None,
        }
    }
}

pub(super) async fn create(cx: Cx, client: Client) -> Result<Stored<Client>> {
    cx.records().add(client).await
}

/// Which clients to list.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Which {
    /// Words that occur together in name, e-mail or address, whatever their case.
    query: Option<Line<200>>,
    /// List the archived clients instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

pub(super) async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Client>>> {
    let mut filter = Filter::new(Order::Recent).archived(which.archived);
    if let Some(query) = &which.query {
        filter = filter.words(query);
    }
    cx.records().list(which.paging.of(filter)?).await
}

/// New values for fields of a client.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    /// The client's id.
    client_id: RecordId,
    /// Only if the client is at this revision.
    expected_rev: Option<i64>,
    /// Name of the person or company.
    name: Option<Line<200>>,
    /// E-mail address.
    email: Option<Email>,
    /// Postal address, over several lines.
    address: Option<Text<0, 500>>,
    /// Number for value added tax.
    vat_id: Option<Line<40>>,
    /// How many days the client has to pay.
    payment_days: Option<Whole<0, 365>>,
    /// Anything else.
    notes: Option<Text<0, 5000>>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Email,
    Address,
    VatId,
    PaymentDays,
    Notes,
}

pub(super) async fn update(cx: Cx, change: Change) -> Result<Stored<Client>> {
    cx.records::<Client>()
        .update(change.client_id, change.expected_rev, |client| {
            for field in &change.clear {
                match field {
                    Clearable::Email => client.email = None,
                    Clearable::Address => client.address = None,
                    Clearable::VatId => client.vat_id = None,
                    Clearable::PaymentDays => client.payment_days = None,
                    Clearable::Notes => client.notes = None,
                }
            }
            client.name = change.name.clone().unwrap_or_else(|| client.name.clone());
            client.email = change.email.clone().or_else(|| client.email.take());
            client.address = change.address.clone().or_else(|| client.address.take());
            client.vat_id = change.vat_id.clone().or_else(|| client.vat_id.take());
            client.payment_days = change.payment_days.or(client.payment_days);
            client.notes = change.notes.clone().or_else(|| client.notes.take());
            Ok(())
        })
        .await
}

/// A client to put away.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Archive {
    /// The client's id.
    client_id: RecordId,
    /// Bring the client back instead.
    #[serde(default)]
    restore: bool,
}

pub(super) async fn archive(cx: Cx, archive: Archive) -> Result<Stored<Client>> {
    let records = cx.records();
    if archive.restore { records.restore(archive.client_id).await } else { records.archive(archive.client_id).await }
}

/// The sender's particulars, all at once.
pub(super) async fn sender_set(cx: Cx, party: Party) -> Result<Stored<Sender>> {
    let records = cx.records::<Sender>();
    match records.first(Filter::new(Order::Recent)).await? {
        None => records.add(Sender { party }).await,
        Some(known) if known.data.party == party => Ok(known),
        Some(known) => {
            records
                .update(known.id, None, |sender| {
                    sender.party = party.clone();
                    Ok(())
                })
                .await
        }
    }
}

/// The sender as set, else the space's name.
pub(super) async fn sender(cx: &Cx) -> Result<Party> {
    if let Some(sender) = cx.records::<Sender>().first(Filter::new(Order::Recent)).await? {
        return Ok(sender.data.party);
    }
    let name: String = cx.membership().name.chars().take(200).collect();
    let name = Line::parse(&name).or_else(|_| Line::parse("-")).map_err(|why| ToolError::field("name", why))?;
    Ok(Party { name, address: None, email: None, vat_id: None, account: None })
}
