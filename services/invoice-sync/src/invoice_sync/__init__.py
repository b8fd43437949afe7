"""Brings Xero to the state of Pipeline's invoices, or says precisely why not."""
