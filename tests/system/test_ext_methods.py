"""Control methods of extensions: in the table while an instance is loaded, decoded like any other, kept open, refused."""

import os
import subprocess

import pytest
from conftest import EVSCTL, TOP, Refused, need, wait_for

SOURCE = r"""
#include <evswitch/extension.h>
#include <stdio.h>

static const struct evs_request *open_one;

static void destroy(void *self)
{
	(void)self;
	if (open_one)
		open_one->done(open_one, NULL);
	open_one = NULL;
}

static int add(void *self, const struct evs_request *r, struct evs_why *why)
{
	char row[200];
	long long sum = r->number(r, "a") + r->number(r, "b");

	(void)self;
	if (sum > 100) {
		snprintf(why->text, sizeof(why->text), "sums end at 100");
		return -1;
	}
	snprintf(row, sizeof(row), "{\"sum\": %lld, \"how\": \"%s\", \"loud\": %s}", sum, r->text(r, "how"),
		 r->number(r, "loud") ? "true" : "false");
	r->row(r, row);
	r->row(r, "no JSON");
	return 0;
}

static int hold(void *self, const struct evs_request *r, struct evs_why *why)
{
	(void)self, (void)why;
	open_one = r;
	return 0;
}

static void hold_gone(void *self, const struct evs_request *r)
{
	(void)self;
	open_one = NULL;
	r->done(r, NULL);
}

static int let_go(void *self, const struct evs_request *r, struct evs_why *why)
{
	struct evs_why bad = {.size = sizeof(bad), .text = "somebody let go"};

	(void)self, (void)r;
	if (!open_one) {
		snprintf(why->text, sizeof(why->text), "nothing is held");
		return -1;
	}
	open_one->done(open_one, &bad);
	open_one = NULL;
	return 0;
}

#define P(...) {.size = sizeof(struct evs_param), __VA_ARGS__}
#define M(...) {.size = sizeof(struct evs_method), __VA_ARGS__}
static const struct evs_param add_params[] = {
    P(.name = "a", .type = EVS_PARAM_INT, .flags = EVS_REQUIRED | EVS_POSITIONAL, .help = "one", .min = 0, .max = 1000),
    P(.name = "b", .type = EVS_PARAM_SIZE, .help = "two", .def = "1K", .max = 1 << 20),
    P(.name = "how", .type = EVS_PARAM_ENUM, .values = "fast|slow", .help = "how", .def = "fast"),
    P(.name = "loud", .type = EVS_PARAM_BOOL, .help = "loud"), P(.name = 0)};
static const struct evs_column columns[] = {{sizeof(struct evs_column), "sum", "of both", 0},
					    {sizeof(struct evs_column), "how", "said", 0},
					    {0}};
static const struct evs_method methods[] = {
    M(.name = "add", .help = "add two numbers", .params = add_params, .columns = columns, .call = add),
    M(.name = "hold", .help = "stay", .flags = EVS_STAYS, .call = hold, .gone = hold_gone),
    M(.name = "release", .help = "let go", .flags = EVS_CHANGES, .call = let_go), M(.name = 0)};

EVS_EXTENSION(.name = "sums", .version = "1.0", .id = "7d5f0c1e-58b2-4a7b-9d0e-3f0c5a1b2c3d", .kind = EVS_FILTER,
	      .destroy = destroy, .object = OBJECT, .methods = methods);
"""


def build(directory, name, word):
    so = directory / f"{name}.so"
    source = directory / f"{name}.c"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-w", f'-DOBJECT="{word}"', f"-I{TOP}/ext/include", str(source), "-o", str(so)],
                   check=True, timeout=60)
    return so


@pytest.fixture
def daemon(make_daemon):
    if os.geteuid() != 0:
        pytest.skip("files of extensions must be root's")
    need("cc")
    d = make_daemon(allow_unsigned=True).start()
    os.chmod(d.dir, 0o755)
    d.ctl("switch", "add", "sw0", "kind", "private")
    d.ctl("switch", "add", "sw1", "kind", "private")
    yield d
    d.stop()


def objects(daemon):
    return {m["name"].split(".")[0] for m in daemon.ctl("system", "methods")["methods"]}


def test_methods_come_and_go_with_the_last_instance(daemon):
    so = build(daemon.dir, "sums", "sums")
    assert "sums" not in objects(daemon)
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", so)
    daemon.ctl("ext", "load", "two", "switch", "sw1", "path", so)
    assert "sums" in objects(daemon)
    daemon.ctl("ext", "unload", "one")
    assert "sums" in objects(daemon)
    daemon.ctl("ext", "unload", "two")
    wait_for(lambda: "sums" not in objects(daemon))


def test_parameters_are_decoded_and_rows_come_back(daemon):
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "sums", "sums"))
    assert daemon.ctl("sums", "add", 1, "b", 2, "how", "slow", "loud") == [{"sum": 3, "how": "slow", "loud": True}]
    assert "sums end at 100" in daemon.refusal("sums", "add", 1)
    assert "1000" in daemon.refusal("sums", "add", 1001)
    assert "fast" in daemon.refusal("sums", "add", 1, "how", "so")
    text = subprocess.run([EVSCTL, "-s", str(daemon.socket), "help", "sums", "add"], capture_output=True, text=True,
                          check=True, timeout=20).stdout
    assert "add two numbers" in text and "1K" in text


def test_each_instance_is_asked(daemon):
    so = build(daemon.dir, "sums", "sums")
    for name, switch in (("one", "sw0"), ("two", "sw1")):
        daemon.ctl("ext", "load", name, "switch", switch, "path", so)
    assert len(daemon.ctl("sums", "add", 1, "b", 2)) == 2


def hold(daemon):
    p = subprocess.Popen([EVSCTL, "-s", str(daemon.socket), "sums", "hold"], stderr=subprocess.PIPE, text=True)

    def held():
        try:
            daemon.ctl("sums", "release")
            return True
        except Refused:
            return False
    return p, held


def test_a_request_stays_until_it_is_answered(daemon):
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "sums", "sums"))
    p, held = hold(daemon)
    wait_for(held)
    _, text = p.communicate(timeout=10)
    assert p.returncode == 1 and "somebody let go" in text


def test_a_client_that_goes_is_noticed(daemon):
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "sums", "sums"))
    first, held = hold(daemon)
    wait_for(held)
    first.communicate(timeout=10)
    p, held = hold(daemon)
    p.kill()
    p.communicate(timeout=10)
    wait_for(lambda: not held())


def test_unloading_ends_what_stays(daemon):
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "sums", "sums"))
    p, held = hold(daemon)
    wait_for(held)
    p.communicate(timeout=10)
    p = subprocess.Popen([EVSCTL, "-s", str(daemon.socket), "sums", "hold"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: "sums.hold" in daemon.log() or p.poll() is None)
    daemon.ctl("sums", "add", 1, "b", 1)
    daemon.ctl("ext", "unload", "one")
    p.communicate(timeout=10)


def test_words_of_the_switch_are_refused(daemon):
    refusal = daemon.refusal("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "port", "port"))
    assert refusal.endswith("its methods are called port, as methods of the switch are"), refusal
    assert "proper word" in daemon.refusal("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "bad", "a b"))
