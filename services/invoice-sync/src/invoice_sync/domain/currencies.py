"""The currencies an invoice can be written in (ISO 4217, active codes that money is counted in)."""

from typing import Final

NO_CURRENCY: Final = "XXX"
"""ISO 4217's code where none is involved: what stands where Xero named no currency."""

ISO_4217 = frozenset(
    (  # noqa: SIM905 - one line per initial letter reads better than 160 quoted strings
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN "
        "BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD "
        "CAD CDF CHF CLP CNY COP CRC CUP CVE CZK "
        "DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP "
        "GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF "
        "IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT "
        "LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN "
        "NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF "
        "SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL "
        "THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV "
        "WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"
    ).split()
)


def is_known(code: str) -> bool:
    """Whether this is a currency at all; whether an organisation may use it, only Xero knows."""
    return code in ISO_4217
