// Looks for what keeps guests from their vhost-user ports: rights to sockets, memory that is not shared, the library's
// limits. Changes nothing.
//
// Facts about ports are taken by the control thread, files are looked at by the jobs thread.
#pragma once

#include "ctrl/api/err.h"
#include "ctrl/api/findings.h"

struct vhost_exam;

struct vhost_exam *vhost_exam_create(void); // control thread; NULL when out of memory
// `user`: whose QEMU is to reach the sockets; NULL = libvirt's if there is one. -ENOENT with a sentence when there is no
// such user. Jobs thread.
int vhost_exam_run(const struct vhost_exam *x, const char *user, struct findings *f, struct err *e);
void vhost_exam_destroy(struct vhost_exam *x);
