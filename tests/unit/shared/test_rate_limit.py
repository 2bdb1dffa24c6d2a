"""Token buckets with a clock in hand."""

import pytest

from roughfed.rate_limit import Rate, RateLimit, address_of


def test_each_address_has_a_burst_and_refills() -> None:
    now = [0.0]
    limit = RateLimit(each=Rate(2, 0.5), total=Rate(100, 100), clock=lambda: now[0])
    assert [limit.allow("a") for _ in range(3)] == [True, True, False]
    assert limit.allow("b")
    now[0] = 2.0
    assert [limit.allow("a") for _ in range(2)] == [True, False]
    now[0] = 1000.0
    assert [limit.allow("a") for _ in range(3)] == [True, True, False]  # never more than a burst


def test_all_together_have_a_bucket_which_one_address_cannot_empty() -> None:
    limit = RateLimit(each=Rate(2, 0), total=Rate(3, 0), clock=lambda: 0.0)
    assert [limit.allow("a") for _ in range(50)].count(True) == 2
    assert [limit.allow("b") for _ in range(50)].count(True) == 1


def test_memory_is_bounded() -> None:
    limit = RateLimit(each=Rate(1, 0), total=Rate(1e6, 0), clock=lambda: 0.0, max_addresses=10)
    for index in range(1000):
        assert limit.allow(str(index))
    assert len(limit._by_address) == 10
    assert not limit.allow("999")  # the latest are remembered


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.7:5123", "10.0.0.7"),
        ("ipv6:[2001:db8:1:2:3::4]:5123", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2:3::4%5D:5123", "2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%25eth0]:5123", "fe80::/64"),
        ("unix:/run/socket", "unix:/run/socket"),
        ("", ""),
    ],
)
def test_addresses(peer: str, address: str) -> None:
    assert address_of(peer) == address
