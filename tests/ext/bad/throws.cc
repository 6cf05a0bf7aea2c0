// Lets an exception out, which nobody catches.
#include <stdexcept>

#include <evswitch/extension.h>

static void flow_in(void *, const evs_call *, const evs_flow *f, evs_answer *)
{
	if (f->ether_type == 0x88b5)
		throw std::runtime_error("thrown by an extension");
}

static const struct evs_extension make()
{
	struct evs_extension x = {};

	x.size = sizeof(x);
	x.abi = EVS_ABI;
	x.name = "throws";
	x.version = "1.0";
	x.id = "0f36bb2a-44b5-4ed3-9b58-1a9a9e8d7f0a";
	x.kind = EVS_FILTER;
	x.flow_in = flow_in;
	return x;
}

const struct evs_extension evs_extension = make();
