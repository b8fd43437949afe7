"""Pipeline and Xero on one screen: a read-only view made from the public topics."""
