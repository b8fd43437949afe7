// Compiled, never run: what the types must allow, and what they must refuse.
import type { AnyEvent, EventsByType, EventType, InvoiceCreated, PaymentRecorded } from './events.js'

export const created: InvoiceCreated = {
  account_id: 'acc-7',
  invoice_id: 'inv-1001',
  version: 1,
  invoice_number: 'INV-1001',
  customer_id: 'cust-42',
  issue_date: '2026-03-01',
  due_date: '2026-03-31',
  currency: 'NZD',
  amounts_are: 'no_tax',
  lines: [{ line_id: '1', description: 'Consulting', quantity: '2', unit_amount: '100.00' }],
  total: '200.00'
}

export const paid = (event: PaymentRecorded): string => `${event.amount} ${event.currency}`
export const lookUp = <T extends EventType>(type: T, body: EventsByType[T]): [T, AnyEvent] => [type, body]

// @ts-expect-error - there is no such event
export const unknown: EventType = 'pipeline.invoice.archived.v1'
// @ts-expect-error - an invoice without a total
export const { total, ...halfAnInvoice }: InvoiceCreated = { ...created, total: undefined }
// @ts-expect-error - a version is a number
export const worded: InvoiceCreated = { ...created, version: 'one' }
