# Compares what a shared library exports with a list of names.
# cmake -DNM=... -DLIBRARY=... -DEXPECTED=... -P symbols.cmake
execute_process(COMMAND "${NM}" -D --defined-only --format=just-symbols "${LIBRARY}"
  OUTPUT_VARIABLE found COMMAND_ERROR_IS_FATAL ANY OUTPUT_STRIP_TRAILING_WHITESPACE)
string(REGEX REPLACE "@[^\n]*" "" found "${found}")
string(REPLACE "\n" ";" found "${found}")
list(REMOVE_ITEM found WEIR_C_1.0) # the version node itself
list(SORT found)
file(STRINGS "${EXPECTED}" expected)
list(SORT expected)
if(NOT found STREQUAL expected)
  set(more ${found})
  list(REMOVE_ITEM more ${expected})
  set(missing ${expected})
  list(REMOVE_ITEM missing ${found})
  message(FATAL_ERROR "${LIBRARY} does not export what ${EXPECTED} lists.\n"
    "too many: ${more}\nmissing: ${missing}")
endif()
