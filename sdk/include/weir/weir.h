// weir/weir.h: everything an embedder needs. Start at Router in weir/router.h.
#pragma once

#include "weir/clock.h"
#include "weir/decision.h"
#include "weir/endpoint.h"
#include "weir/flight.h"
#include "weir/intake.h"
#include "weir/limits.h"
#include "weir/options.h"
#include "weir/random.h"
#include "weir/request.h"
#include "weir/resources.h"
#include "weir/response_model.h"
#include "weir/response_reader.h"
#include "weir/router.h"
#include "weir/status.h"
