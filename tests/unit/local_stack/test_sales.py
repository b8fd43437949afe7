from decimal import ROUND_HALF_UP, Decimal

from pipeline_local_stack.sales import invoice_of, read_sales


def test_every_row_of_the_public_record_becomes_an_invoice_that_adds_up_to_the_cent():
    sales = list(read_sales())
    assert len(sales) == 6919
    for sale in sales:
        invoice = invoice_of(sale, "demo")
        (line,) = invoice.lines
        amount = (line.quantity * line.unit_amount).quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert amount == invoice.total == sale.amount
    assert len({sale.invoice_id for sale in sales}) == len(sales)
