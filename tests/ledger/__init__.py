"""The ledger: producers and consumers in processes of their own, faults at random, and records that have to agree.

    python -m tests.ledger --seconds 60

Every event has a producer and a number. Producers write down what was confirmed, consumers what they handled, before they
do anything else; in the end `audit` compares the records:

- every event that was confirmed was handled at least once;
- whatever the server has deleted or acknowledged was handled;
- an event that was handled twice is explained by an entry in the records: a flush that was repeated, a handler that failed,
  a consumer that was killed, claimed from, or could not reach the server.
"""
