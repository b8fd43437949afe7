// Generated from the JSON Schemas by `make contracts`; do not edit.
//
// What a reader may meet: amounts are decimal strings, or numbers from other writers; words may be new ones; fields
// that are not listed may be there, and are to be ignored.

/**
 * Every event by its `ce_type`.
 */
export interface EventsByType {
  'pipeline.account.reconciled.v1': AccountReconciled;
  'pipeline.connection.status_changed.v1': ConnectionStatusChanged;
  'pipeline.customer.contact_mapped.v1': ContactMapped;
  'pipeline.customer.created.v1': CustomerCreated;
  'pipeline.customer.updated.v1': CustomerUpdated;
  'pipeline.invoice.created.v1': InvoiceCreated;
  'pipeline.invoice.out_of_sync.v1': OutOfSync;
  'pipeline.invoice.sync_failed.v1': SyncFailed;
  'pipeline.invoice.sync_resumed.v1': SyncResumed;
  'pipeline.invoice.synced.v1': InvoiceSynced;
  'pipeline.invoice.updated.v1': InvoiceUpdated;
  'pipeline.invoice.voided.v1': InvoiceVoided;
  'pipeline.payment.recorded.v1': PaymentRecorded;
  'pipeline.payment.reversed.v1': PaymentReversed;
  'pipeline.xero_invoice.observed.v1': XeroInvoiceObserved;
}
/**
 * Every accepted invoice of an account was accounted for, and compared with Xero.
 */
export interface AccountReconciled {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * 1, 2, … per account.
   */
  reconciliation: number;
  /**
   * Xero organisation it was compared with.
   */
  tenant_id: string;
  /**
   * Who asked: `user:<id>`, `service:<name>`, `command:reconcile`, or `schedule`.
   */
  asked_by: string;
  /**
   * When reading Xero began.
   */
  began_at: string;
  /**
   * When the last of it was compared.
   */
  finished_at: string;
  /**
   * Whether nothing was found.
   */
  is_clean: boolean;
  /**
   * Both books by currency.
   *
   * @maxItems 2000
   */
  totals: LedgerTotal[];
  /**
   * Both books by state and currency; they add up to `totals`.
   *
   * @maxItems 2000
   */
  states: StateTotal[];
  /**
   * What was found; empty if it is clean.
   *
   * @maxItems 100
   */
  findings: Finding[];
}
/**
 * The invoices of one currency in both books.
 */
export interface LedgerTotal {
  /**
   * ISO 4217 code; `XXX` where none is known.
   */
  currency: string;
  /**
   * Invoices Pipeline has accepted, voided ones included.
   */
  invoices: number;
  /**
   * Their totals in Pipeline, without those voided.
   */
  total: string | number;
  /**
   * Of Pipeline's invoices, how many are live in Xero.
   */
  in_xero: number;
  /**
   * Their totals in Xero.
   */
  xero_total: string | number;
  /**
   * `total` less `xero_total`, to the cent.
   */
  difference: string | number;
}
/**
 * The same, of the invoices in one state.
 */
export interface StateTotal {
  /**
   * ISO 4217 code; `XXX` where none is known.
   */
  currency: string;
  /**
   * Invoices Pipeline has accepted, voided ones included.
   */
  invoices: number;
  /**
   * Their totals in Pipeline, without those voided.
   */
  total: string | number;
  /**
   * Of Pipeline's invoices, how many are live in Xero.
   */
  in_xero: number;
  /**
   * Their totals in Xero.
   */
  xero_total: string | number;
  /**
   * `total` less `xero_total`, to the cent.
   */
  difference: string | number;
  /**
   * State of the invoices in Pipeline; `not_linked`: live in Xero under Pipeline's mark, and linked to no invoice; `left_behind`: in an organisation the account was connected to before.
   */
  state: string;
}
/**
 * One kind of thing that is not as it should be, in words.
 */
export interface Finding {
  /**
   * Which, for programs.
   */
  kind: string;
  /**
   * How many.
   */
  count: number;
  /**
   * What was found.
   */
  message: string;
  /**
   * What happens next, or whose move it is.
   */
  hint: string;
}
/**
 * An account's connection to Xero is now in this state.
 */
export interface ConnectionStatusChanged {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * `CONNECTED`, `TOKEN_EXPIRED` or `DISCONNECTED`.
   */
  status: string;
  /**
   * Why, for programs, e.g. `CONSENT_REVOKED`.
   */
  reason: string;
  /**
   * When the connection came into this state.
   */
  since: string;
  /**
   * The person who did it, if one did.
   */
  changed_by?: string | null;
  /**
   * Why, for the account's people.
   */
  message: string;
  /**
   * The next step; empty if there is none.
   */
  hint: string;
  /**
   * Whether the Refresh Token button can help.
   */
  can_refresh: boolean;
  /**
   * The Xero organisation.
   */
  tenant_id?: string | null;
  /**
   * Its name.
   */
  tenant_name?: string | null;
  /**
   * Its short code in Xero's web addresses.
   */
  short_code?: string | null;
  /**
   * Its base currency, ISO 4217.
   */
  base_currency?: string | null;
  /**
   * 1, 2, … per account, without gaps.
   */
  sequence: number;
}
/**
 * A customer of Pipeline is now linked to this contact in Xero.
 */
export interface ContactMapped {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * Pipeline's customer; key of the record.
   */
  customer_id: string;
  /**
   * Xero's ContactID.
   */
  contact_id: string;
  /**
   * Name of the contact in Xero.
   */
  contact_name?: string | null;
  /**
   * Who linked them: `user:<id>` or `service:<name>`.
   */
  mapped_by: string;
}
/**
 * A customer was added in Pipeline.
 */
export interface CustomerCreated {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * The customer; key of the record.
   */
  customer_id: string;
  /**
   * 1 for the first state of the customer, then one more each.
   */
  version: number;
  /**
   * Name as it is to stand on an invoice.
   */
  name: string;
  /**
   * Address for invoices.
   */
  email?: string | null;
  /**
   * Telephone number.
   */
  phone?: string | null;
  /**
   * VAT, GST or ABN number.
   */
  tax_number?: string | null;
}
/**
 * A customer was changed in Pipeline; this is its whole new state.
 */
export interface CustomerUpdated {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * The customer; key of the record.
   */
  customer_id: string;
  /**
   * 1 for the first state of the customer, then one more each.
   */
  version: number;
  /**
   * Name as it is to stand on an invoice.
   */
  name: string;
  /**
   * Address for invoices.
   */
  email?: string | null;
  /**
   * Telephone number.
   */
  phone?: string | null;
  /**
   * VAT, GST or ABN number.
   */
  tax_number?: string | null;
}
/**
 * An invoice was issued in Pipeline.
 */
export interface InvoiceCreated {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * The invoice; key of the record.
   */
  invoice_id: string;
  /**
   * 1 for the first state of the invoice, then one more each.
   */
  version: number;
  /**
   * The number printed on the invoice.
   */
  invoice_number: string;
  /**
   * The customer's own reference.
   */
  reference?: string | null;
  /**
   * The customer billed.
   */
  customer_id: string;
  /**
   * Date of the invoice.
   */
  issue_date: string;
  /**
   * Day by which it is to be paid.
   */
  due_date: string;
  /**
   * ISO 4217 code of all amounts, e.g. `EUR`.
   */
  currency: string;
  /**
   * Units of `currency` per unit of the organisation's base currency; absent: day rate.
   */
  currency_rate?: string | number | null;
  /**
   * Whether line amounts are `tax_exclusive`, `tax_inclusive` or `no_tax`.
   */
  amounts_are: string;
  /**
   * The lines, in order.
   *
   * @maxItems 5000
   */
  lines: InvoiceLine[];
  /**
   * What the customer is to pay, tax included.
   */
  total: string | number;
}
/**
 * One line of an invoice.
 */
export interface InvoiceLine {
  /**
   * Id of the line, unique within the invoice and stable over versions.
   */
  line_id: string;
  /**
   * What was sold.
   */
  description: string;
  /**
   * How many.
   */
  quantity: string | number;
  /**
   * Price of one, before discount.
   */
  unit_amount: string | number;
  /**
   * Discount in percent, e.g. `10`.
   */
  discount_rate?: string | number | null;
  /**
   * Pipeline's revenue account code, mapped per account to Xero's.
   */
  account_code?: string | null;
  /**
   * Pipeline's tax code, mapped per account to Xero's tax type.
   */
  tax_code?: string | null;
  /**
   * Tax on the line, where Pipeline's figure must stand.
   */
  tax_amount?: string | number | null;
  /**
   * Code of the item sold.
   */
  item_code?: string | null;
  /**
   * Tracking options of the line.
   *
   * @maxItems 10
   */
  tracking?: TrackingOption[];
}
/**
 * One tracking category of a line and the option chosen in it.
 */
export interface TrackingOption {
  /**
   * Name of the tracking category, e.g. `Region`.
   */
  category: string;
  /**
   * Name of the option in that category, e.g. `North`.
   */
  option: string;
}
/**
 * The invoice was changed in both systems; nothing is overwritten until they agree.
 */
export interface OutOfSync {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * Pipeline's invoice; key of the record.
   */
  invoice_id: string;
  /**
   * Version of Pipeline's invoice it speaks of.
   */
  version: number;
  /**
   * 1, 2, … per invoice, without gaps, over all event types.
   */
  sequence: number;
  /**
   * Xero organisation that holds it.
   */
  tenant_id: string;
  /**
   * Xero's InvoiceID.
   */
  xero_invoice_id: string;
  /**
   * Xero's version: UpdatedDateUTC of the state compared.
   */
  xero_updated_at?: string | null;
  /**
   * Where the two versions differ.
   *
   * @maxItems 10000
   */
  differences: Difference[];
  /**
   * What happened, for the owner of the invoice.
   */
  message: string;
  /**
   * The next step.
   */
  hint: string;
  /**
   * `edited` on both sides, or withdrawn in Xero: `voided_in_xero`, `deleted_in_xero`.
   */
  kind?: string | null;
}
/**
 * One field in which Pipeline and Xero disagree; an absent value means the field is not set there.
 */
export interface Difference {
  /**
   * The field, e.g. `due_date` or `lines[2].quantity`.
   */
  field: string;
  /**
   * Value both last agreed on.
   */
  base?: string | null;
  /**
   * Value in Pipeline.
   */
  pipeline?: string | null;
  /**
   * Value in Xero.
   */
  xero?: string | null;
}
/**
 * This version of the invoice is not in Xero, and here is why and what to do.
 */
export interface SyncFailed {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * Pipeline's invoice; key of the record.
   */
  invoice_id: string;
  /**
   * Version of Pipeline's invoice it speaks of.
   */
  version: number;
  /**
   * 1, 2, … per invoice, without gaps, over all event types.
   */
  sequence: number;
  /**
   * The cause, for programs: a `ProblemCode`.
   */
  code: string;
  /**
   * The cause, for the owner of the invoice.
   */
  message: string;
  /**
   * The next step.
   */
  hint: string;
  /**
   * Whether it is tried again without anybody doing anything.
   */
  retryable: boolean;
  /**
   * When it is tried again, if so.
   */
  next_attempt_at?: string | null;
  /**
   * How many times the work was started afresh.
   */
  generation: number;
  /**
   * Xero's own messages, unchanged.
   *
   * @maxItems 1000
   */
  xero_errors?: string[];
}
/**
 * Both systems agree on the invoice again.
 */
export interface SyncResumed {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * Pipeline's invoice; key of the record.
   */
  invoice_id: string;
  /**
   * Version of Pipeline's invoice it speaks of.
   */
  version: number;
  /**
   * 1, 2, … per invoice, without gaps, over all event types.
   */
  sequence: number;
  /**
   * Xero organisation that holds it.
   */
  tenant_id: string;
  /**
   * Xero's InvoiceID.
   */
  xero_invoice_id: string;
  /**
   * `pipeline_change` or `xero_change` made them agree; `person`: somebody, or a program, chose a side.
   */
  resolved_by: string;
  /**
   * The invoice as Xero has it, in Xero's codes, where a person chose Xero's version: for Pipeline to take over. Absent too where it is beyond the size of an event.
   */
  invoice?: ObservedInvoice | null;
}
/**
 * An invoice in Xero at one moment.
 */
export interface ObservedInvoice {
  /**
   * InvoiceNumber.
   */
  invoice_number?: string | null;
  /**
   * Reference.
   */
  reference?: string | null;
  /**
   * Status, e.g. `AUTHORISED`.
   */
  status: string;
  /**
   * ContactID.
   */
  contact_id?: string | null;
  /**
   * Name of the contact.
   */
  contact_name?: string | null;
  /**
   * Date.
   */
  issue_date?: string | null;
  /**
   * DueDate.
   */
  due_date?: string | null;
  /**
   * CurrencyCode.
   */
  currency: string;
  /**
   * CurrencyRate.
   */
  currency_rate?: string | number | null;
  /**
   * LineAmountTypes in Pipeline's words.
   */
  amounts_are: string;
  /**
   * LineItems, in order.
   *
   * @maxItems 5000
   */
  lines: ObservedLine[];
  /**
   * SubTotal.
   */
  sub_total?: string | number | null;
  /**
   * TotalTax.
   */
  total_tax?: string | number | null;
  /**
   * Total.
   */
  total: string | number;
  /**
   * AmountDue.
   */
  amount_due?: string | number | null;
  /**
   * AmountPaid.
   */
  amount_paid?: string | number | null;
  /**
   * AmountCredited.
   */
  amount_credited?: string | number | null;
  /**
   * UpdatedDateUTC.
   */
  updated_at?: string | null;
}
/**
 * One line of an invoice in Xero, in Xero's codes.
 */
export interface ObservedLine {
  /**
   * Xero's LineItemID.
   */
  line_item_id?: string | null;
  /**
   * Description.
   */
  description?: string | null;
  /**
   * Quantity.
   */
  quantity?: string | number | null;
  /**
   * UnitAmount.
   */
  unit_amount?: string | number | null;
  /**
   * DiscountRate in percent.
   */
  discount_rate?: string | number | null;
  /**
   * Xero's account code.
   */
  account_code?: string | null;
  /**
   * Xero's tax type.
   */
  tax_type?: string | null;
  /**
   * TaxAmount.
   */
  tax_amount?: string | number | null;
  /**
   * LineAmount.
   */
  line_amount?: string | number | null;
  /**
   * Xero's item code.
   */
  item_code?: string | null;
  /**
   * Tracking options.
   *
   * @maxItems 10
   */
  tracking?: TrackingOption[];
  /**
   * Pipeline's line, where the writer knows which one it is.
   */
  line_id?: string | null;
}
/**
 * Xero holds the invoice as this version of Pipeline's.
 */
export interface InvoiceSynced {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * Pipeline's invoice; key of the record.
   */
  invoice_id: string;
  /**
   * Version of Pipeline's invoice it speaks of.
   */
  version: number;
  /**
   * 1, 2, … per invoice, without gaps, over all event types.
   */
  sequence: number;
  /**
   * Xero organisation that holds it.
   */
  tenant_id: string;
  /**
   * Xero's InvoiceID.
   */
  xero_invoice_id: string;
  /**
   * InvoiceNumber as it stands in Xero.
   */
  invoice_number: string;
  /**
   * Status in Xero, e.g. `AUTHORISED` or `VOIDED`; `DELETED` also where Xero has it no more.
   */
  xero_status: string;
  /**
   * Total in Xero.
   */
  total: string | number;
  /**
   * ISO 4217 code of `total`.
   */
  currency: string;
  /**
   * Address that opens the invoice in Xero; empty where Xero has it no more.
   */
  deep_link: string;
  /**
   * When Xero created it, by Xero's clock; only in the event of the write that created it.
   */
  xero_created_at?: string | null;
}
/**
 * An invoice was changed in Pipeline; this is its whole new state.
 */
export interface InvoiceUpdated {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * The invoice; key of the record.
   */
  invoice_id: string;
  /**
   * 1 for the first state of the invoice, then one more each.
   */
  version: number;
  /**
   * The number printed on the invoice.
   */
  invoice_number: string;
  /**
   * The customer's own reference.
   */
  reference?: string | null;
  /**
   * The customer billed.
   */
  customer_id: string;
  /**
   * Date of the invoice.
   */
  issue_date: string;
  /**
   * Day by which it is to be paid.
   */
  due_date: string;
  /**
   * ISO 4217 code of all amounts, e.g. `EUR`.
   */
  currency: string;
  /**
   * Units of `currency` per unit of the organisation's base currency; absent: day rate.
   */
  currency_rate?: string | number | null;
  /**
   * Whether line amounts are `tax_exclusive`, `tax_inclusive` or `no_tax`.
   */
  amounts_are: string;
  /**
   * The lines, in order.
   *
   * @maxItems 5000
   */
  lines: InvoiceLine[];
  /**
   * What the customer is to pay, tax included.
   */
  total: string | number;
}
/**
 * An invoice was cancelled in Pipeline; nothing follows for it.
 */
export interface InvoiceVoided {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * The invoice; key of the record.
   */
  invoice_id: string;
  /**
   * 1 for the first state of the invoice, then one more each.
   */
  version: number;
  /**
   * Why, in the words of who cancelled it.
   */
  reason?: string | null;
}
/**
 * An invoice was paid in Xero, in full or in part.
 */
export interface PaymentRecorded {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * Our id of the payment; the same for ever, also when reversed.
   */
  payment_id: string;
  /**
   * Xero's PaymentID, or the id of what was allocated.
   */
  xero_payment_id: string;
  /**
   * Pipeline's invoice; key of the record.
   */
  invoice_id: string;
  /**
   * Xero's InvoiceID.
   */
  xero_invoice_id?: string | null;
  /**
   * Xero organisation it was made in.
   */
  tenant_id?: string | null;
  /**
   * `payment`, `credit_note`, `overpayment` or `prepayment`.
   */
  kind: string;
  /**
   * Amount applied to the invoice.
   */
  amount: string | number;
  /**
   * ISO 4217 code of all amounts, that of the invoice.
   */
  currency: string;
  /**
   * Date of the payment or allocation.
   */
  paid_on: string;
  /**
   * Reference given in Xero.
   */
  reference?: string | null;
  /**
   * Paid on the invoice in all, after this.
   */
  amount_paid: string | number;
  /**
   * Still due on the invoice, after this.
   */
  amount_due: string | number;
  /**
   * Status of the invoice in Xero, e.g. `PAID`.
   */
  invoice_status: string;
  /**
   * `webhook` or `sweep`.
   */
  found_by: string;
  /**
   * 1, 2, … per invoice, without gaps, over both event types.
   */
  sequence: number;
}
/**
 * A payment recorded earlier was removed in Xero.
 */
export interface PaymentReversed {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * Our id of the payment; the same for ever, also when reversed.
   */
  payment_id: string;
  /**
   * Xero's PaymentID, or the id of what was allocated.
   */
  xero_payment_id: string;
  /**
   * Pipeline's invoice; key of the record.
   */
  invoice_id: string;
  /**
   * Xero's InvoiceID.
   */
  xero_invoice_id?: string | null;
  /**
   * Xero organisation it was made in.
   */
  tenant_id?: string | null;
  /**
   * `payment`, `credit_note`, `overpayment` or `prepayment`.
   */
  kind: string;
  /**
   * Amount applied to the invoice.
   */
  amount: string | number;
  /**
   * ISO 4217 code of all amounts, that of the invoice.
   */
  currency: string;
  /**
   * Date of the payment or allocation.
   */
  paid_on: string;
  /**
   * Reference given in Xero.
   */
  reference?: string | null;
  /**
   * Paid on the invoice in all, after this.
   */
  amount_paid: string | number;
  /**
   * Still due on the invoice, after this.
   */
  amount_due: string | number;
  /**
   * Status of the invoice in Xero, e.g. `PAID`.
   */
  invoice_status: string;
  /**
   * `webhook` or `sweep`.
   */
  found_by: string;
  /**
   * 1, 2, … per invoice, without gaps, over both event types.
   */
  sequence: number;
}
/**
 * An invoice was read from Xero and looked like this.
 */
export interface XeroInvoiceObserved {
  /**
   * The account (customer organisation of Pipeline) it is about.
   */
  account_id: string;
  /**
   * Xero's InvoiceID; key of the record.
   */
  xero_invoice_id: string;
  /**
   * Xero organisation that holds it.
   */
  tenant_id: string;
  /**
   * When it was read, by Xero's clock.
   */
  observed_at: string;
  invoice: ObservedInvoice1;
}
/**
 * An invoice in Xero at one moment.
 */
export interface ObservedInvoice1 {
  /**
   * InvoiceNumber.
   */
  invoice_number?: string | null;
  /**
   * Reference.
   */
  reference?: string | null;
  /**
   * Status, e.g. `AUTHORISED`.
   */
  status: string;
  /**
   * ContactID.
   */
  contact_id?: string | null;
  /**
   * Name of the contact.
   */
  contact_name?: string | null;
  /**
   * Date.
   */
  issue_date?: string | null;
  /**
   * DueDate.
   */
  due_date?: string | null;
  /**
   * CurrencyCode.
   */
  currency: string;
  /**
   * CurrencyRate.
   */
  currency_rate?: string | number | null;
  /**
   * LineAmountTypes in Pipeline's words.
   */
  amounts_are: string;
  /**
   * LineItems, in order.
   *
   * @maxItems 5000
   */
  lines: ObservedLine[];
  /**
   * SubTotal.
   */
  sub_total?: string | number | null;
  /**
   * TotalTax.
   */
  total_tax?: string | number | null;
  /**
   * Total.
   */
  total: string | number;
  /**
   * AmountDue.
   */
  amount_due?: string | number | null;
  /**
   * AmountPaid.
   */
  amount_paid?: string | number | null;
  /**
   * AmountCredited.
   */
  amount_credited?: string | number | null;
  /**
   * UpdatedDateUTC.
   */
  updated_at?: string | null;
}

/** The `ce_type` of an event. */
export type EventType = keyof EventsByType;

/** The body of any event. */
export type AnyEvent = EventsByType[EventType];
