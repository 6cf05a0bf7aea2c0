// What keeps guests from their ports (vhost_exam.h). A port whose guest is connected needs no look at its socket.
#include "vhost_exam.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>

#include "rights.h"
#include "shell.h"
#include "vhost.h"
#include "vhost_check.h"

#define MAX_ROWS    20  // of one kind; the rest are counted
#define MAX_SERVERS 500 // of the library, with descriptors to spare
#define MAX_CLIENTS 1000
#define HUGE_PAGE   (2u << 20)
#define NEW_DIR     "/var/lib/evswitch-guests" // for sockets, of the hypervisor's user

struct exam_port {
	char name[PORT_NAME_SIZE];
	char path[sizeof(((struct vhost *)0)->path)];
	bool server;
	struct vhost_talk talk;
};

struct vhost_exam {
	unsigned n;
	struct exam_port ports[];
};

static const char *const usual_users[] = {"libvirt-qemu", "qemu"};

struct vhost_exam *vhost_exam_create(void)
{
	struct vhost_exam *x = calloc(1, sizeof(*x) + MAX_PORTS * sizeof(x->ports[0]));

	for (uint16_t i = 0; x != NULL && i < MAX_PORTS; i++) {
		const struct port *p = port_at(i);

		if (p == NULL || p->driver != &vhost_driver || !p->open || p->leaving)
			continue;
		const struct vhost *v = p->drv;
		struct exam_port *to = &x->ports[x->n++];

		memcpy(to->name, v->name, sizeof(to->name));
		memcpy(to->path, v->path, sizeof(to->path));
		to->server = v->server;
		to->talk = vhost_talk_read(v);
	}
	return x;
}

void vhost_exam_destroy(struct vhost_exam *x)
{
	free(x);
}

// Without libvirt, guests are started by hand, as root.
static int user_find(const char *name, struct rights_user *u, struct findings *f, struct err *e)
{
	if (name != NULL && rights_user_find(name, u, e) != 0)
		return e->code;
	for (size_t i = 0; name == NULL && i < RTE_DIM(usual_users); i++)
		if (rights_user_find(usual_users[i], u, NULL) == 0)
			name = u->name;
	if (name == NULL)
		*u = (struct rights_user){.name = "root"};
	findings_fine(f, "hypervisor's user", "%s (uid %u)%s", u->name, u->uid,
		      name == NULL ? ", as there is no libvirt-qemu or qemu; 'user NAME' says another" : "");
	return 0;
}

// The directory that QEMU's user cannot get through, or that is missing.
static bool is_reached(const struct exam_port *p, const struct rights_user *u, const char *check,
		       struct findings *f)
{
	char at[PATH_MAX], owner[RIGHTS_OWNER_LEN], copy[sizeof(p->path)], word[SHELL_WORD_MAX(PATH_MAX)];
	int rc = rights_reach(u, p->path, at);
	struct stat st;

	if (rc == 0)
		return true;
	snprintf(copy, sizeof(copy), "%s", p->path);
	if (rc == -EACCES && stat(at, &st) == 0) {
		findings_bad(f, check, "%s cannot get to %s: directory %s is %s", u->name, p->path, at,
			     rights_owner_print(&st, owner));
		findings_fix(f, "chmod o+x %s", shell_word(at, word, sizeof(word)));
	} else if (rc == -ENOENT) {
		findings_bad(f, check, "there is no directory %s for %s", at, p->path);
		findings_fix(f, "install -d -o %s %s", u->name,
			     shell_word(dirname(copy), word, sizeof(word)));
	} else {
		findings_bad(f, check, "%s: %s: %s", p->path, at, err_name(-rc));
		findings_fix(f, "evsctl port set %s socket PATH, in a directory that is there", p->name);
	}
	return false;
}

// Mode server: our own socket is there, and QEMU's user must be allowed to write to it.
static bool may_connect(const struct exam_port *p, const struct rights_user *u, const char *check,
			struct findings *f)
{
	char owner[RIGHTS_OWNER_LEN];
	struct stat st;

	if (stat(p->path, &st) != 0 || rights_allow(u, p->path, &st, W_OK))
		return true; // that it is missing is said by the port's state
	findings_bad(f, check, "%s may not connect to %s, which is %s", u->name, p->path,
		     rights_owner_print(&st, owner));
	findings_fix(
	    f,
	    "install -d -o %s %s && evsctl port set %s mode client socket %s/%s.sock # then QEMU's mode "
	    "is server",
	    u->name, NEW_DIR, p->name, NEW_DIR, p->name);
	return false;
}

// Mode client: QEMU makes the socket and we connect. One that is there shows that it could be made.
static bool may_listen(const struct exam_port *p, const struct rights_user *u, const char *check,
		       struct findings *f)
{
	char copy[sizeof(p->path)], owner[RIGHTS_OWNER_LEN], word[SHELL_WORD_MAX(sizeof(p->path))];
	struct err e = {0};
	struct stat st;
	int rc = vhost_socket_check(p->path, &e);

	snprintf(copy, sizeof(copy), "%s", p->path);
	const char *dir = dirname(copy);

	if (rc == 0)
		return true;
	if (rc != -ENOENT) {
		findings_bad(f, check, "evswitchd %s", e.text);
		findings_fix(f, rc == -ENOTSOCK ? "rm %s" : "run evswitchd as root, or chmod o+rw %s",
			     shell_word(p->path, word, sizeof(word)));
		return false;
	}
	if (stat(dir, &st) != 0 || rights_allow(u, dir, &st, W_OK | X_OK))
		return true;
	findings_bad(f, check, "%s may not make its socket in %s, which is %s", u->name, dir,
		     rights_owner_print(&st, owner));
	findings_fix(f, "install -d -o %s %s && evsctl port set %s socket %s/%s.sock", u->name, NEW_DIR,
		     p->name, NEW_DIR, p->name);
	return false;
}

static void sockets_examine(const struct vhost_exam *x, const struct rights_user *u, struct findings *f)
{
	unsigned n_connected = 0, n_bad = 0, n_looked = 0;
	char check[PORT_NAME_SIZE + 16];

	for (unsigned i = 0; i < x->n && n_bad < MAX_ROWS; i++) {
		const struct exam_port *p = &x->ports[i];

		n_looked++;
		snprintf(check, sizeof(check), "socket of %s", p->name);
		if (p->talk.phase != VHOST_AWAY)
			n_connected++;
		else if (!is_reached(p, u, check, f) ||
			 !(p->server ? may_connect(p, u, check, f) : may_listen(p, u, check, f)))
			n_bad++;
	}
	if (n_looked < x->n) {
		findings_bad(f, "sockets", "%u more ports were not looked at", x->n - n_looked);
		findings_fix(f, "evsctl system doctor, once these are mended");
	} else if (n_bad == 0) {
		findings_fine(f, "sockets", "of %u, %u %s connected, and %s can use the others", x->n,
			      n_connected, n_connected == 1 ? "is" : "are", u->name);
	}
}

static bool is_unshared(const struct vhost_talk *t)
{
	return t->phase == VHOST_FEATURES || (t->phase == VHOST_AWAY && t->asked == VHOST_MSG_SET_MEM_TABLE);
}

static void memory_examine(const struct vhost_exam *x, struct findings *f)
{
	unsigned n_bad = 0, n_mapped = 0, n_ordinary = 0;
	char check[PORT_NAME_SIZE + 24];

	for (unsigned i = 0; i < x->n; i++) {
		const struct exam_port *p = &x->ports[i];

		n_mapped += p->talk.phase >= VHOST_MEMORY;
		n_ordinary += p->talk.phase >= VHOST_MEMORY && p->talk.page_bytes < HUGE_PAGE;
		if (!is_unshared(&p->talk) || n_bad++ >= MAX_ROWS)
			continue;
		snprintf(check, sizeof(check), "memory of %s's guest", p->name);
		findings_bad(f, check, "it is not shared: evswitchd cannot read what the guest sends");
		findings_fix(f,
			     "evsctl port qemu-args %s # has what the guest lacks; or evsctl port "
			     "libvirt-xml %s domain",
			     p->name, p->name);
	}
	if (n_bad > MAX_ROWS) {
		findings_bad(f, "memory of guests", "%u more guests do not share theirs", n_bad - MAX_ROWS);
		findings_fix(f, "evsctl system doctor, once these are mended");
	} else if (n_bad == 0) {
		findings_fine(f, "memory of guests", "%u share theirs%s", n_mapped,
			      n_mapped == 0     ? ""
			      : n_ordinary == 0 ? ", all of it in huge pages"
						: ", some of it in ordinary pages: hugetlb=on at QEMU's "
						  "memory-backend-memfd would be faster");
	}
}

static void limit_examine(const char *check, unsigned n, unsigned max, const char *fix, struct findings *f)
{
	if (n < max) {
		findings_fine(f, check, "%u of about %u", n, max);
		return;
	}
	findings_bad(f, check, "%u, and the vhost-user library serves about %u", n, max);
	findings_fix(f, "%s", fix);
}

int vhost_exam_run(const struct vhost_exam *x, const char *user, struct findings *f, struct err *e)
{
	struct rights_user u = {0};
	unsigned n_servers = 0;

	if (user_find(user, &u, f, e) != 0)
		return e->code;
	for (unsigned i = 0; i < x->n; i++)
		n_servers += x->ports[i].server;
	sockets_examine(x, &u, f);
	memory_examine(x, f);
	limit_examine("ports in mode client", x->n - n_servers, MAX_CLIENTS,
		      "evswitchd --run-dir OTHER: a second daemon for some of the guests", f);
	limit_examine("ports in mode server", n_servers, MAX_SERVERS, "evsctl port set NAME mode client", f);
	return 0;
}
