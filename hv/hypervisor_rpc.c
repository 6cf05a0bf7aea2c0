// Control methods that tell how a guest is attached to a port. Control thread.
#include <errno.h>

#include "ctrl/api/module.h"
#include "dp/port.h"
#include "hypervisor.h"

#define MEGABYTE   (1 << 20)
#define MAX_MEMORY (64LL << 40)

static const struct param qemu_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the port"},
    {"memory", PARAM_SIZE, 0,
     "of the guest, put in for SIZE; 0 = leave its memory out, as another port's arguments have it",
     .max = MAX_MEMORY},
    {0}};
static const struct param libvirt_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the port"},
    {"domain", PARAM_BOOL, PARAM_FLAG,
     "also what stands outside <devices>: shared memory, and an mtu that is not 1500", .def = "no"},
    {0}};

static const struct port *vhost_port(struct request *rq, struct err *e)
{
	const struct port *p = port_find(rq_str(rq, "name"));

	if (p == NULL)
		err_set(e, -ENOENT, "port %s: no such port", rq_str(rq, "name"));
	else if (p->conf.socket[0] == '\0')
		err_set(e, -EINVAL,
			"port %s: has no socket: only ports of type guest with a socket are for hypervisors",
			p->conf.name);
	else
		return p;
	return NULL;
}

static int answer(struct request *rq, json_t *result, struct err *e)
{
	if (result == NULL)
		return err_set(e, -ENOMEM, "port %s: out of memory", rq_str(rq, "name"));
	rq_result(rq, result);
	return 0;
}

static int port_qemu_args(struct request *rq, struct err *e)
{
	int64_t memory = rq_has(rq, "memory") ? rq_int(rq, "memory") : HYPERVISOR_MEMORY_UNKNOWN;
	const struct port *p = vhost_port(rq, e);

	if (p == NULL)
		return e->code;
	if (memory > 0 && memory % MEGABYTE != 0)
		return err_set(e, -EINVAL, "memory: %lld bytes are no whole number of megabytes",
			       (long long)memory);
	return answer(rq, qemu_args(&p->conf, memory), e);
}

static int port_libvirt_xml(struct request *rq, struct err *e)
{
	const struct port *p = vhost_port(rq, e);

	return p == NULL ? e->code : answer(rq, libvirt_xml(&p->conf, rq_bool(rq, "domain")), e);
}

static const struct method methods[] = {
    {"port.qemu-args", "print the arguments that attach a QEMU guest to a port", qemu_params, NULL,
     METHOD_READ, port_qemu_args},
    {"port.libvirt-xml", "print the XML that attaches a libvirt guest to a port", libvirt_params, NULL,
     METHOD_READ, port_libvirt_xml},
    {0}};

const struct module hypervisor_module = {.name = "hypervisor", .methods = methods};
