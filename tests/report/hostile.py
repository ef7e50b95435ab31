"""Text written to break a page: each of these must be shown as it is and do nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from curation.report.data import Duplicates, QuarantinedRow, Repeated, ReportData, SourceFile, TokenHeat, Turn
from tests.report.builders import conversation, provenance, report_of

PAYLOADS = (
    "<script>alert('script')</script>",
    "<img src=x onerror=alert('img')>",
    "<svg/onload=alert('svg')><circle r=9></svg>",
    "<svg><script href=data:,alert('data')></script></svg>",
    "<a href=\"javascript:alert('link')\">click</a>",
    '" onmouseover="alert(1)" autofocus onfocus="alert(2)" x="',
    "' onclick='alert(1)",
    "</style><style>body{display:none}</style>",
    "</title><base href=https://example.org/>",
    "</details></div></main></body></html>",
    "</svg></figure><iframe srcdoc='<b>in</b>'></iframe><object data=x></object><embed src=x>",
    "<meta http-equiv=refresh content='0;url=https://example.org/'>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<form action=https://example.org/><button>send</button></form>",
    "<textarea><plaintext><xmp><noscript><template>",
    "{{7*7}} {% for x in y %} {# gone #} ${7*7} {{ ''.__class__ }}",
    "unterminated <!-- comment and <![CDATA[ section",
    "&lt;b&gt; &amp;amp; &#60;i&#62; &notanentity; &#x202e; &",
    "]]> --> --!> */ // # \\ \\u202e %3Cscript%3E",
    "pay \u202eetats on\u202c to \u2066left\u2069 \u200fend\u200e",
    "مرحبا (abc) 123 שלום <b>x</b>",
    "zero\u200bwidth\u2060join\u200d\ufeff \u00adhy\u00adphen \u180e \U000e0041\U000e007f \ufe0f\u034f\u3164",
    "bell\x07 escape\x1b[31m back\x08space vertical\x0b form\x0c return\r\nnext\x85 line\u2028",
    "paragraph\u2029 delete\x7f",
    "\n\n  leading and trailing space \t tab \n\n",
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324" * 20,
    "w" * 3_000,
    "𝕬𝖘𝖙𝖗𝖆𝖑 👩‍💻 🏳️‍🌈 e\u0301",
    "\ufffe\uffff\ufdd0 \ue000 noncharacters",
)

LONG = "A very long line without any break. " * 30_000
"""More than a megabyte."""


def tokens(text: str) -> tuple[TokenHeat, ...]:
    """Three characters a token, pushing in turn to either side."""
    parts = [text[i : i + 3] for i in range(0, len(text), 3)]
    return tuple(TokenHeat(part, (-1) ** i * 0.01 * (i % 7)) for i, part in enumerate(parts))


def hostile_report(payloads: Sequence[str] = PAYLOADS) -> ReportData:
    """A report with hostile text in every place that takes text from outside."""
    everything = " ".join(payloads)
    base = report_of([conversation(text, text) for text in payloads])
    rows = [
        replace(row, source=text, flags=(text,), sample_id=text, heat=tokens(text) if row.rank % 2 else ())
        for row in base.rows
        for text in (row.turns[0].text,)
    ]
    return ReportData(
        provenance=provenance(
            2 * len(payloads),
            dataset=everything,
            scorer=everything,
            files=[SourceFile(text, text, 1, 1) for text in payloads],
            reject_reasons=dict.fromkeys(payloads, 1),
            versions=dict(zip(payloads, payloads, strict=True)),
            details={text: list(payloads) for text in payloads},
        ),
        columns=base.columns,
        rows=rows,
        quarantined=[
            QuarantinedRow(t, t, t, (Turn(t, t), Turn("assistant", t, trained=True))) for t in payloads
        ],
        n_quarantined=len(payloads),
        duplicates=Duplicates(9, 9, [Repeated(2, text, text, 1) for text in payloads]),
        model_card={text: {text: [text, {text: text}]} for text in payloads},
        direction_cards={text: {text: text} for text in payloads},
        warnings=payloads,
    )
