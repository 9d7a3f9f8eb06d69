"""A remote suspect: it is asked rightly, and whatever it answers is one row per sample or one clear reason."""

from __future__ import annotations

import re
import socket
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from onnxfp.domain import Answered, QueryProbe, Unanswered, WeightProbe
from onnxfp.errors import UsageError
from onnxfp.suspect.endpoint import Endpoint, EndpointOptions, open_endpoint
from onnxfp.suspect.pacing import Clock, Pace
from onnxfp.suspect.transform import Transform
from onnxfp.suspect.v2 import InputFacts, Refused
from tests.suspect.misbehaving import SERVER, WAYS, Misbehaving, logits, softmax

QUICK = EndpointOptions(timeout_s=10, retries=0, response_bytes=200_000)
HASTY = replace(QUICK, timeout_s=0.4)
TOKEN = "hunter2-hunter2-hunter2"


@pytest.fixture
def server():
    with Misbehaving() as running:
        yield running


def inputs(samples: int) -> np.ndarray:
    return (np.arange(samples * 4, dtype=np.float32).reshape(samples, 4) % 7 - 3) / 3


def ask(server: Misbehaving, samples: int = 5, options: EndpointOptions = QUICK):
    with open_endpoint(server.url, options) as endpoint:
        return checked(endpoint, samples)


def checked(endpoint: Endpoint, samples: int):
    """Ask, and look at what no answer may lack."""
    response = endpoint.answer(QueryProbe(inputs(samples)))
    if isinstance(response, Answered):
        assert len(response.values) == samples
        assert response.values.dtype == np.float64
        heard = ~np.isnan(response.values.reshape(samples, -1)).all(axis=1)
        assert response.coverage == pytest.approx(heard.mean())
        assert bool(response.unread) is not bool(heard.all())
    else:
        assert isinstance(response, Unanswered)
        assert response.reason.isprintable()
    return response


def expected(samples: int) -> np.ndarray:
    return np.log(softmax(logits(inputs(samples))))


# --- those who answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["good", "nested"])
def test_logits_become_log_probabilities(server, way):
    server.ways = [way]
    response = ask(server)
    np.testing.assert_allclose(response.values, expected(5), atol=1e-12)
    assert response.provider == "remote: misbehaving 1.0"
    assert (response.coverage, response.unread, response.transforms) == (1.0, (), ())


@pytest.mark.parametrize("way", ["labels", "names"])
def test_labels_stay_labels(server, way):
    server.ways = [way]
    np.testing.assert_array_equal(ask(server).values, logits(inputs(5)).argmax(axis=1))


@pytest.mark.parametrize("way", ["top_two", "classification"])
def test_the_best_classes_are_told_from_those_that_were_not_returned(server, way):
    server.ways = [way]
    values = ask(server, options=replace(QUICK, batch=2)).values
    worst = np.eye(3, dtype=bool)[logits(inputs(5)).argmin(axis=1)]
    assert (values[worst] == -np.inf).all()
    np.testing.assert_allclose(values[~worst], expected(5)[~worst], atol=1e-12)


def test_batches_are_asked_in_order_and_put_together(server):
    response = ask(server, 10, replace(QUICK, batch=4))
    assert server.batches == [4, 4, 2]
    np.testing.assert_allclose(response.values, expected(10), atol=1e-12)


def test_binary_tensors_are_used_where_the_server_says_that_it_takes_them(server):
    server.server = SERVER | {"extensions": ["classification", "binary_tensor_data"]}
    server.ways = ["binary"]
    np.testing.assert_allclose(ask(server).values, expected(5), atol=1e-12)
    assert server.headers[-1]["Content-Type"] == "application/octet-stream"
    server.ways = ["good"]
    assert ask(server, options=replace(QUICK, binary=False)).values.shape == (5, 3)
    assert server.headers[-1]["Content-Type"] == "application/json"


def test_a_server_that_takes_binary_may_answer_in_json(server):
    assert ask(server, options=replace(QUICK, binary=True)).coverage == 1.0


@pytest.mark.parametrize("model", [None, {}, {"inputs": []}, {"inputs": "x"}, {"inputs": [7, {"name": "\x1b"}]}])
def test_metadata_may_be_missing_or_odd(server, model):
    server.model, server.server = model, {}
    with open_endpoint(server.url, QUICK) as endpoint:
        assert checked(endpoint, 3).coverage == 1.0
        assert endpoint.input is None
        assert endpoint.provider == "remote: a server without a name"


def test_facts_about_the_input_come_from_the_metadata(server):
    with open_endpoint(server.url, QUICK) as endpoint:
        assert endpoint.input is None
        checked(endpoint, 3)
        assert endpoint.input == InputFacts("x", "FP32", (-1, 4))


def test_one_of_several_inputs_has_to_be_named(server):
    server.model = {"inputs": [{"name": name, "datatype": "FP32", "shape": [-1, 4]} for name in "ab"]}
    assert "found 2 (a, b); name the one" in ask(server).reason
    assert ask(server, options=replace(QUICK, input_name="b")).coverage == 1.0


def test_inputs_are_sent_as_the_metadata_want_them(server):
    server.model = {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 4]}]}
    assert "can be sent as UINT8, found FP32; say how with a transform" in ask(server).reason
    response = ask(server, options=replace(QUICK, transform=Transform.parse("scale=3 dtype=uint8")))
    assert response.transforms == ("inputs sent with scale=3 dtype=uint8",)


def test_inputs_that_json_cannot_say_are_not_sent(server):
    with open_endpoint(server.url, QUICK) as endpoint:
        response = endpoint.answer(QueryProbe(np.full((2, 4), np.nan, dtype=np.float32)))
    assert "not sent: the input holds NaN" in response.reason


def test_weights_are_not_shown(server):
    with open_endpoint(server.url, QUICK) as endpoint:
        response = endpoint.answer(WeightProbe((), None, 1.0, 1.0))
    assert response == Unanswered("it is a remote endpoint, sealed: it answers inputs and shows no weights")
    assert not server.headers


def test_no_question_is_no_answer(server):
    assert ask(server, 0) == Unanswered("nothing was asked")


# --- those who do not -------------------------------------------------------------------------------------------------

REFUSALS = {
    "words": "holds text that does not name classes by number",
    "binary": "the answer is application/octet-stream, expected application/json",
    "no_outputs": "no outputs",
    "outputs_of_text": "no list of outputs",
    "outputs_that_are_numbers": "an output is not an object",
    "a_list": "not an object",
    "an_error": "no list of outputs",
    "false_shape": r"says shape \[5, 7\] and brings 15 values",
    "text_for_shape": "no shape of 1 to 8",
    "negative_shape": "not made of natural numbers",
    "huge_shape": "not made of natural numbers",
    "large_shape": "brings 15 values",
    "too_few": "4 rows for 5 samples",
    "too_many": "10 rows for 5 samples",
    "not_numbers": "numbers holds str",
    "truths": "numbers holds bool",
    "nulls": "numbers holds null",
    "nan": "holds NaN",
    "infinite": "Infinity",
    "too_large": "too large",
    "large_labels": "do not fit int8",
    "unknown_datatype": "datatype that the protocol does not know",
    "ragged": "nested otherwise",
    "twice": "two outputs of one name",
    "nameless": "no name",
    "many_outputs": "100 outputs",
    "wide_index": "names class 1000000000",
    "html": "the answer is text/html, expected application/json",
    "typeless": "of no type",
    "invalid": "not JSON",
    "no_text": "not JSON",
    "deep": "nested too deeply",
    "deeper": r"longer than 200000 bytes",
    "same_key": "one key twice",
    "long_number": "not JSON",
    "empty": "not JSON|shorter than",
    "error_500": r"HTTP 500: .*boom",
    "error_404": "HTTP 404: nothing here",
    "closed_door": "valid token",
    "busy_for_ever": r"not available \(HTTP 503\)",
    "squeezed": "compressed",
    "promises_more": "no whole answer within 0.4 s",
    "promises_too_much": "no whole answer within 0.4 s",
    "negative_length": "no connection",
    "redirect": "redirects elsewhere",
    "asks_for_a_year": "HTTP 503",
    "too_long": "batch-size must be",
    "too_long_a_body": "HTTP 413",
    "slow": "no whole answer within 0.4 s",
    "streams": "longer than 200000 bytes",
    "drips": "no whole answer within 0.4 s",
    "drips_headers": "no whole answer within 0.4 s",
    "goes_on_with_headers": "no connection|no whole answer",
    "continues": "no whole answer within 0.4 s",
    "drips_an_error": "HTTP 500",
    "closes": "no connection",
    "closes_within": "broke off within",
    "bad_chunks": "broke off within",
    "not_http": "no connection",
}


def patience(way: str) -> EndpointOptions:
    """Little for those who would use all of it."""
    endless = "no whole answer" in REFUSALS[way] or way == "drips_an_error"
    return replace(HASTY if endless else QUICK, binary=False)


@pytest.mark.parametrize("way", REFUSALS)
def test_who_never_answers_leaves_one_reason(server, way):
    server.ways = [way]
    began = time.monotonic()
    response = ask(server, options=patience(way))
    assert isinstance(response, Unanswered)
    assert re.fullmatch(rf"5 of 5 samples: [^;]*({REFUSALS[way]}).*", response.reason), response.reason
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("way", REFUSALS)
def test_who_does_not_answer_once_is_heard_otherwise(server, way):
    server.ways = ["good", way, "good"]
    response = ask(server, 15, replace(patience(way), batch=5))
    heard = ~np.isnan(response.values[:, 0])
    np.testing.assert_allclose(response.values[heard], expected(15)[heard], atol=1e-12)
    if response.coverage < 1:
        assert heard.tolist() == [True] * 5 + [False] * 5 + [True] * 5
        assert re.fullmatch(rf"5 of 15 samples: .*({REFUSALS[way]}).*", *response.unread)


@pytest.mark.parametrize("way", ["binary_cut", "binary_long_head"])
def test_binary_answers_are_measured(server, way):
    server.ways = [way]
    assert re.search("not as long as|shorter than|brings", ask(server, options=replace(QUICK, binary=True)).reason)


def test_every_way_is_tried():
    elsewhere = {"good", "nested", "labels", "names", "top_two", "classification", "one_at_a_time", "eight_at_a_time"}
    elsewhere |= {"binary_cut", "binary_long_head", "asks_for_a_pause", "asks_for_a_date", "echo", "echo_in_a_name"}
    assert set(WAYS) == REFUSALS.keys() | elsewhere


def test_who_changes_its_mind_about_the_classes_is_heard_as_before(server):
    server.ways = ["good", "labels", "good"]
    response = ask(server, 15, replace(QUICK, batch=5))
    assert response.unread == ("5 of 15 samples: its outputs have other names or shapes than before",)


def test_nobody_listens():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v2/models/m"
        with open_endpoint(url, replace(QUICK, retries=1)) as endpoint:
            assert "no connection" in checked(endpoint, 3).reason


def test_the_rest_is_not_asked_when_nothing_comes_any_more(server):
    server.ways = ["good", "slow"]
    response = ask(server, 20, replace(HASTY, batch=2))
    assert len(server.batches) == 4
    assert response.unread == (
        "12 of 20 samples: not asked: it had stopped answering",
        "6 of 20 samples: no whole answer within 0.4 s",
    )


def test_the_deadline_is_for_all_requests(server):
    server.ways = ["drips_an_error"]
    began = time.monotonic()
    response = ask(server, 20, replace(HASTY, batch=1, deadline_s=0.6))
    assert time.monotonic() - began < 3
    assert "not asked: the time for all questions was over" in response.reason


# --- again, and less --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["busy_for_ever", "closes", "asks_for_a_date"])
def test_who_is_not_available_is_asked_again(server, way):
    server.ways = [way, "good"]
    assert ask(server, options=replace(QUICK, retries=1)).coverage == 1.0
    assert server.batches == [5, 5]


def test_a_pause_that_is_asked_for_is_granted(server):
    server.ways = ["asks_for_a_pause", "good"]
    began = time.monotonic()
    assert ask(server, options=replace(QUICK, retries=1)).coverage == 1.0
    assert time.monotonic() - began > 0.9


@pytest.mark.parametrize("way", ["error_404", "html", "slow", "redirect", "closes_within"])
def test_others_are_not_asked_again(server, way):
    server.ways = [way]
    ask(server, options=replace(HASTY, retries=3))
    assert server.batches == [5]


@pytest.mark.parametrize(("way", "batches"), [("one_at_a_time", [64, 8, 1]), ("eight_at_a_time", [64, 8])])
def test_smaller_batches_are_tried_once_and_remembered(server, way, batches):
    server.ways = [way]
    with open_endpoint(server.url, QUICK) as endpoint:
        assert checked(endpoint, 70).coverage == 1.0
        assert server.batches[: len(batches)] == batches
        asked = len(server.batches)
        assert checked(endpoint, 9).coverage == 1.0
        assert server.batches[asked] == batches[-1]
    assert server.batches.count(64) == 1


def test_who_refuses_single_samples_too_is_asked_in_large_batches(server):
    server.ways = ["error_500"]
    ask(server, 70)
    assert server.batches == [64, 8, 1, 64, 5]


class FakeTime:
    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.seconds, self.sleep, lambda: 0.5)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def refusing(**how):
    def ask():
        raise Refused("no", **how)

    return ask


@pytest.mark.parametrize(("wait_s", "slept"), [(0.0, 0.25 + 0.5 + 1.0), (5.0, 15.0), (3600.0, 90.0)])
def test_the_pauses_grow_and_what_is_asked_for_is_granted_up_to_a_limit(wait_s, slept):
    fake = FakeTime()
    with pytest.raises(Refused, match="no"):
        Pace(3, clock=fake.clock).persist(refusing(wait_s=wait_s), 1000.0)
    assert fake.seconds == pytest.approx(slept)


def test_no_pause_reaches_beyond_the_deadline():
    fake = FakeTime()
    with pytest.raises(Refused, match="no"):
        Pace(3, clock=fake.clock).persist(refusing(wait_s=10.0), 15.0)
    assert fake.seconds == pytest.approx(10.0)


def test_requests_keep_to_the_rate():
    fake = FakeTime()
    pace = Pace(0, 4.0, fake.clock)
    times = [pace.persist(lambda: fake.seconds, 1000.0) for _ in range(5)]
    np.testing.assert_allclose(times, [0, 0.25, 0.5, 0.75, 1.0])


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_the_token_is_sent_to_the_origin_and_not_along_a_redirect(server):
    with Misbehaving() as elsewhere:
        server.elsewhere, server.ways = elsewhere.origin, ["redirect"]
        assert "redirects elsewhere" in ask(server, options=replace(QUICK, token=TOKEN)).reason
        assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {TOKEN}"] * 3
        assert not elsewhere.headers


@pytest.mark.parametrize("way", ["echo", "echo_in_a_name"])
def test_a_token_that_is_repeated_is_not_shown(server, way):
    server.ways, server.server = [way], {"name": f"I know {TOKEN[3:]}"}
    with open_endpoint(server.url, replace(QUICK, token=TOKEN)) as endpoint:
        said = f"{endpoint} {checked(endpoint, 3)} {endpoint.provider} {endpoint.identity}"
    assert not any(TOKEN[at : at + 8] in said for at in range(len(TOKEN) - 7))
    assert "not shown: it repeats a part of the token" in said


def test_no_token_is_shown_by_repr_or_refusal():
    options = EndpointOptions(token=TOKEN)
    assert TOKEN not in repr(options)
    for broken in (f"{TOKEN}\n", f"{TOKEN} x", f"{TOKEN}\r\nX: y"):
        with pytest.raises(UsageError, match="token of printable ASCII") as refused:
            open_endpoint("https://h/v2/models/m", replace(options, token=broken))
        assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("url", ["http://example.org/v2/models/m", "grpc://example.org:8001/v2/models/m"])
def test_a_token_in_the_clear_has_to_be_allowed(url):
    with pytest.raises(UsageError, match=r"expected an encrypted URL, found .*example\.org"):
        open_endpoint(url, EndpointOptions(token=TOKEN))
    open_endpoint(url, EndpointOptions(token=TOKEN, token_in_clear=True)).close()
    open_endpoint(url, EndpointOptions()).close()


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.9.1:1"])
def test_on_this_machine_a_token_may_travel_in_the_clear(host):
    open_endpoint(f"http://{host}/v2/models/m", EndpointOptions(token=TOKEN)).close()


def test_the_environment_does_not_lead_elsewhere(server, monkeypatch):
    with Misbehaving() as elsewhere:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.origin)
        assert ask(server).coverage == 1.0
        assert not elsewhere.headers


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"timeout_s": 0}, "timeout_s above 0"),
        ({"deadline_s": -1}, "deadline_s above 0"),
        ({"deadline_s": float("nan")}, "deadline_s above 0"),
        ({"batch": 0}, "batch above 0"),
        ({"response_bytes": 0}, "response_bytes above 0"),
        ({"retries": -1}, "retries of 0 or more"),
        ({"rate_per_s": -1.0}, "rate_per_s of 0 or more"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(change, words):
    with pytest.raises(UsageError, match=words):
        open_endpoint("http://h/v2/models/m", replace(QUICK, **change))


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_certificates_that_cannot_be_read_are_refused(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content:
        path.write_bytes(content)
    for url in ("https://h/v2/models/m", "grpcs://h:1/v2/models/m"):
        with pytest.raises(UsageError, match="expected certificates in"):
            open_endpoint(url, replace(QUICK, ca_file=path))


@pytest.mark.parametrize(("scheme", "module", "extra"), [("http", "httpcore", "remote"), ("grpc", "grpc", "grpc")])
def test_a_missing_package_is_named_by_its_extra(monkeypatch, scheme, module, extra):
    for name in [name for name in sys.modules if name.startswith("onnxfp.suspect.v2_") or "bounded" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"install `onnxfp\[{extra}\]`"):
        open_endpoint(f"{scheme}://h:1/v2/models/m", QUICK)
