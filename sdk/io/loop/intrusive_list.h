// weir/io/loop/intrusive_list.h: a doubly linked list whose links live in its elements, so that
// linking never allocates and any element can leave its list in O(1).
#pragma once

namespace weir::io {

// Base of an element. Leaves its list when destroyed. One thread at a time.
class ListNode {
 public:
  ListNode() noexcept = default;
  ~ListNode() { Unlink(); }
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;

  bool linked() const noexcept { return next_ != nullptr; }
  // Leaves the list it is in, if any. [hot, serial]
  void Unlink() noexcept {
    if (next_ == nullptr) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    prev_ = next_ = nullptr;
  }

 private:
  template <typename T>
  friend class IntrusiveList;
  ListNode* prev_ = nullptr;
  ListNode* next_ = nullptr;
};

// A list of borrowed T, which derives from ListNode. Elements still linked when the list goes are
// unlinked, not destroyed. One thread at a time.
template <typename T>
class IntrusiveList {
 public:
  IntrusiveList() noexcept { head_.prev_ = head_.next_ = &head_; }
  ~IntrusiveList() {
    while (PopFront() != nullptr) {
    }
  }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const noexcept { return head_.next_ == &head_; }
  // First, last and following element; null at the end. [hot, serial]
  T* front() const noexcept { return empty() ? nullptr : static_cast<T*>(head_.next_); }
  T* back() const noexcept { return empty() ? nullptr : static_cast<T*>(head_.prev_); }
  T* Next(const T& element) const noexcept {
    ListNode* next = static_cast<const ListNode&>(element).next_;
    return next == &head_ ? nullptr : static_cast<T*>(next);
  }

  // Both unlink `element` from where it was first. [hot, serial]
  void PushBack(T& element) noexcept { InsertBefore(head_, element); }
  void PushFront(T& element) noexcept { InsertBefore(*head_.next_, element); }
  // Unlinks and returns the first element, or null. [hot, serial]
  T* PopFront() noexcept {
    T* first = front();
    if (first != nullptr) static_cast<ListNode*>(first)->Unlink();
    return first;
  }
  // Moves all elements of `other` behind those of this list. O(1). [hot, serial]
  void TakeAll(IntrusiveList& other) noexcept {
    if (other.empty()) return;
    ListNode* first = other.head_.next_;
    ListNode* last = other.head_.prev_;
    other.head_.prev_ = other.head_.next_ = &other.head_;
    first->prev_ = head_.prev_;
    head_.prev_->next_ = first;
    last->next_ = &head_;
    head_.prev_ = last;
  }

 private:
  static void InsertBefore(ListNode& position, ListNode& node) noexcept {
    node.Unlink();
    node.prev_ = position.prev_;
    node.next_ = &position;
    position.prev_->next_ = &node;
    position.prev_ = &node;
  }

  ListNode head_;  // the sentinel: its links are the list's two ends
};

}  // namespace weir::io
