"""Undo send as a service: hold an email durably, undo it into a draft, relay it in its time.

Read in this order; an hour is plenty:

    domain/email.py        the values, and the row that decides every race
    domain/change.py       what can happen to it
    domain/lifecycle.py    every transition, as one table
    domain/access.py       who asks, and the bounds of what one may touch
    reading.py             what clients see, within those bounds
    outbox.py              what clients do;  drafts.py    what they do to a draft
    releaser.py            what the clock does: who looks when
    attempt.py             what happens to one email on its way: the order all rests on
    spool/port.py          what a store must promise;  relay/port.py  what a next hop says
    hub.py                 who hears of it;  live.py      the past and the present, without a seam
    app.py                 how it is put together, part by part in assembly.py

Around the core: keyring.py and tokens.py (who is let in), retention.py (how content goes),
webhooks/ (who is told), doors/http/ (how it is asked; routes.py is its table of contents).

Two flows cross the house.

*Send.* A door translates the request -> ``Outbox.submit`` judges the content and computes the
times -> ``Spool.add`` writes row, content, recipients and the first line of the event log in
one group commit -> only then the 202 leaves -> the hub tells the releaser, which goes back to
sleep until the earliest due time.

*The timer fires.* ``Releaser.run_once`` asks the spool what is next, claims as many due emails
as there are free connections -> ``Attempt`` says MAIL and RCPT, commits the marker, says DATA,
and settles -> the hub tells whoever listens. Undo, in between, is one conditional update of
the same row: it wins until the marker is committed.

Below ``spool`` many callers share a transaction (``group_commit``), and the SQL is made from
the lifecycle's own functions (``transitions``).
"""

__version__ = "0.1.0"
