// The method system.doctor. Control thread; the machine is looked at on the jobs thread.
#include <errno.h>
#include <stdlib.h>

#include "ctrl/api/jobs.h"
#include "ctrl/api/module.h"
#include "ctrl/doctor.h"
#include "ctrl/must.h"
#include "hv/vhost_exam.h"

extern const struct module doctor_module;

struct visit {
	struct request *rq;
	const char *user; // the request's own
	struct doctor doctor;
	struct vhost_exam *guests;
	struct err e;
};

static const struct param params[] = {
    {"user", PARAM_NAME, 0,
     "whose QEMU is to reach the guests' sockets; libvirt-qemu or qemu, where there is one, if absent"},
    {0}};
static const struct column columns[] = {{"check", "what was looked at", NULL},
					{"fine", "yes or no", NULL},
					{"found", "what it is like", NULL},
					{"fix", "what to type", NULL},
					{0}};

static void visit_work(void *arg)
{
	struct visit *v = arg;

	doctor_examine(&v->doctor);
	vhost_exam_run(v->guests, v->user, &v->doctor.found, &v->e);
}

static void rows_give(struct request *rq, const struct findings *f)
{
	size_t n = json_array_size(f->rows), i;
	json_t *row;

	json_array_foreach (f->rows, i, row)
		rq_row(rq, json_incref(row));
	rq_row(rq, must(json_pack("{s:s, s:b, s:o}", "check", "in sum", "fine", f->n_bad == 0, "found",
				  must(json_sprintf("%u of %zu have something to fix", f->n_bad, n)))));
}

static void visit_done(void *arg)
{
	struct visit *v = arg;

	if (v->e.code == 0)
		rows_give(v->rq, &v->doctor.found);
	rq_done(v->rq, &v->e);
	json_decref(v->doctor.found.rows);
	vhost_exam_destroy(v->guests);
	free(v);
}

static int system_doctor(struct request *rq, struct err *e)
{
	struct visit *v = calloc(1, sizeof(*v));
	struct vhost_exam *guests = vhost_exam_create();

	if (v == NULL || guests == NULL) {
		vhost_exam_destroy(guests);
		free(v);
		return err_set(e, -ENOMEM, "system: out of memory");
	}
	v->rq = rq;
	v->user = rq_str(rq, "user");
	v->guests = guests;
	v->doctor.found.rows = must(json_array());
	doctor_take(&v->doctor);
	job_run("doctor", visit_work, visit_done, v);
	return rq_later(rq, NULL, NULL);
}

static const struct method methods[] = {
    {"system.doctor", "look for what makes it slow or keeps guests out, and say what to type", params,
     columns, METHOD_READ, system_doctor},
    {0}};

const struct module doctor_module = {.name = "doctor", .methods = methods};
