#include "c_layout.h"
#include "layout.h"
