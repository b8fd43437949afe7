"""Customers as Pipeline publishes them."""

from typing import ClassVar

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from pipeline_contracts import topics
from pipeline_contracts.event import Event
from pipeline_contracts.fields import Id, ShortText, Version


class Customer(Event):
    """A whole customer at one version: the body shared by CustomerCreated and CustomerUpdated."""

    TOPIC: ClassVar[str] = topics.CUSTOMERS.name
    KEY: ClassVar[str] = "customer_id"

    customer_id: Id = Field(description="The customer; key of the record.")
    version: Version = Field(
        description="1 for the first state of the customer, then one more each."
    )
    name: ShortText = Field(description="Name as it is to stand on an invoice.")
    email: ShortText | None = Field(default=None, description="Address for invoices.")
    phone: ShortText | None = Field(default=None, description="Telephone number.")
    tax_number: ShortText | None = Field(default=None, description="VAT, GST or ABN number.")

    @property
    def revision(self) -> str:
        """The customer's version."""
        return str(self.version)


_EXAMPLE: JsonDict = {
    "account_id": "acc-7",
    "customer_id": "cust-42",
    "version": 1,
    "name": "Ridgeway University",
    "email": "accounts@ridgeway.example",
}


class CustomerCreated(Customer):
    """A customer was added in Pipeline."""

    TYPE: ClassVar[str] = "pipeline.customer.created.v1"

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})


class CustomerUpdated(Customer):
    """A customer was changed in Pipeline; this is its whole new state."""

    TYPE: ClassVar[str] = "pipeline.customer.updated.v1"

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_EXAMPLE, "version": 2, "phone": "+64 4 555 0199"}]}
    )
